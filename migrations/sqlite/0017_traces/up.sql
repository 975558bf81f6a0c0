-- The span of an execution in the trace that it is a part of: a traceparent, and the span above it.
ALTER TABLE executions ADD COLUMN trace TEXT;
-- Since when people are asked, of all tenants: for a gauge.
CREATE INDEX checkpoints_by_age ON checkpoints (created_at) WHERE status = 'pending';
