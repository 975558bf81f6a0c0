-- Timers that could not be fired: how often, and until when they let others go first.
ALTER TABLE timers ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE timers ADD COLUMN held_until TIMESTAMPTZ;
