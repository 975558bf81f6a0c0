-- Memberships that a trusted issuer of tokens made: only the same issuer takes them back.
ALTER TABLE group_members ADD COLUMN issuer TEXT;
-- The youngest token whose word about groups was taken.
ALTER TABLE external_identities ADD COLUMN groups_heard_at TIMESTAMPTZ NOT NULL DEFAULT 'epoch';
-- The secret that a webhook had before, and until when deliveries are signed under it too.
ALTER TABLE webhooks ADD COLUMN previous_secret TEXT;
ALTER TABLE webhooks ADD COLUMN previous_until TIMESTAMPTZ;
CREATE INDEX webhooks_by_previous_until ON webhooks (previous_until) WHERE previous_until IS NOT NULL;
