DROP INDEX checkpoints_by_age;
ALTER TABLE executions DROP COLUMN trace;
