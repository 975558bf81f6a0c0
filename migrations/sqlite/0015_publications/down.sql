DROP INDEX model_usage_by_execution;
DROP TABLE conversation_turns;
DROP TABLE conversations;
ALTER TABLE cores DROP COLUMN published_slug;
ALTER TABLE cores DROP COLUMN published_backend_id;
ALTER TABLE cores DROP COLUMN published_model_id;
