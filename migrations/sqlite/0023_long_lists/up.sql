-- Lists go from their newest end, and whoever asks for a few among very many must not have all others passed over.
CREATE INDEX cores_by_status ON cores (tenant_id, status, id);

-- An inbox is put together of what asks each of those that its owner is: each from its newest end.
CREATE INDEX checkpoints_asking ON checkpoints (tenant_id, assignee_type, assignee_value, id) WHERE status = 'pending';
-- So nobody looks for an assignee in here any more.
DROP INDEX checkpoints_pending;
CREATE INDEX checkpoints_pending ON checkpoints (tenant_id, id) WHERE status = 'pending';
CREATE INDEX checkpoints_ended ON checkpoints (tenant_id, status, id) WHERE status <> 'pending';
CREATE INDEX checkpoints_by_type ON checkpoints (tenant_id, checkpoint_type, id);
-- Most are neither urgent nor the contrary, and cost nothing here.
CREATE INDEX checkpoints_by_priority ON checkpoints (tenant_id, priority, id) WHERE priority <> 'normal';
