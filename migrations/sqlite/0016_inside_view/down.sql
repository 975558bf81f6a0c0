DROP INDEX journal_by_core;
ALTER TABLE journal DROP COLUMN at;
ALTER TABLE journal DROP COLUMN core_id;
ALTER TABLE executions DROP COLUMN debugging;
DROP TABLE core_breakpoints;
DROP TABLE core_log_lanes;
DROP TABLE core_logs;
