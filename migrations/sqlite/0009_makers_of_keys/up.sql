-- Who made a key. Keys from before count as made by somebody else than their holder.
ALTER TABLE api_keys ADD COLUMN created_by TEXT;
