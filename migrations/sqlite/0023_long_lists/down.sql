DROP INDEX checkpoints_by_priority;
DROP INDEX checkpoints_by_type;
DROP INDEX checkpoints_ended;
DROP INDEX checkpoints_pending;
CREATE INDEX checkpoints_pending ON checkpoints (tenant_id, id, assignee_type, assignee_value) WHERE status = 'pending';
DROP INDEX checkpoints_asking;
DROP INDEX cores_by_status;
