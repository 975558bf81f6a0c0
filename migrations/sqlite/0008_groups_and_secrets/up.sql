-- Memberships that a trusted issuer of tokens made: only the same issuer takes them back.
ALTER TABLE group_members ADD COLUMN issuer TEXT;
-- The youngest token whose word about groups was taken.
ALTER TABLE external_identities ADD COLUMN groups_heard_at BIGINT NOT NULL DEFAULT 0;
