ALTER TABLE core_events DROP COLUMN heard;
DROP TABLE hook_messages;
DROP TABLE core_triggers;
