ALTER TABLE delegations DROP COLUMN revoked_at;
