ALTER TABLE timers DROP COLUMN held_until;
ALTER TABLE timers DROP COLUMN failures;
