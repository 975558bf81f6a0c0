DROP TABLE avatar_objects;
ALTER TABLE models DROP COLUMN avatar_url;
ALTER TABLE cores DROP COLUMN avatar_hash;
ALTER TABLE cores DROP COLUMN avatar_type;
ALTER TABLE executions DROP COLUMN delegation_id;
DROP TABLE delegations;
