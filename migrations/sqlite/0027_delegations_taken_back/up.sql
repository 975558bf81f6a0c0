-- When the user took back what they had lent. Such a delegation counts no more, and stays until somebody who may delegate says for
-- whom the Core is to act instead.
ALTER TABLE delegations ADD COLUMN revoked_at BIGINT;
