DROP INDEX webhooks_by_previous_until;
ALTER TABLE webhooks DROP COLUMN previous_until;
ALTER TABLE webhooks DROP COLUMN previous_secret;
ALTER TABLE external_identities DROP COLUMN groups_heard_at;
ALTER TABLE group_members DROP COLUMN issuer;
