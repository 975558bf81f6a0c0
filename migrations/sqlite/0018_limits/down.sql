DROP TABLE object_refs;
DROP TABLE objects;
DROP TABLE duties;
DROP TABLE removed_cores;
DROP TABLE execution_snapshots;
DROP INDEX executions_finished;
DROP INDEX executions_queued_in_turn;
DROP INDEX executions_queued;
