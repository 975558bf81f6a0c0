DROP TABLE mails;
DROP TABLE checkpoint_links;
DROP TABLE checkpoint_votes;
DROP INDEX checkpoints_by_change;
ALTER TABLE checkpoints DROP COLUMN revision;
ALTER TABLE checkpoints DROP COLUMN excluded;
ALTER TABLE checkpoints DROP COLUMN standing;
ALTER TABLE checkpoints DROP COLUMN rules;
ALTER TABLE executions DROP COLUMN requested_by;
