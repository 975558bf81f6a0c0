ALTER TABLE external_identities DROP COLUMN groups_heard_at;
ALTER TABLE group_members DROP COLUMN issuer;
