-- What is to happen at an instant. A row is written, and removed, in the transaction of what it belongs to; whoever fires
-- it removes it in the transaction that does what it says.
CREATE TABLE timers (
    tenant_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    effect INTEGER NOT NULL,
    core_id TEXT NOT NULL,
    due_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, kind, owner, effect)
);
CREATE INDEX timers_by_due ON timers (due_at);
CREATE INDEX timers_by_core ON timers (tenant_id, core_id, kind);

-- Deadlines of checkpoints are timers like all others.
INSERT INTO timers (tenant_id, kind, owner, effect, core_id, due_at)
    SELECT tenant_id, 'checkpoint', id, 0, core_id, expires_at FROM checkpoints
    WHERE status = 'pending' AND expires_at IS NOT NULL;
DROP INDEX checkpoints_by_expiry;

-- Executions that wait for an event of their Core.
CREATE TABLE event_waits (
    tenant_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    effect INTEGER NOT NULL,
    core_id TEXT NOT NULL,
    name TEXT NOT NULL,
    source_version INTEGER NOT NULL,
    pointer TEXT NOT NULL,
    captured BYTEA,
    PRIMARY KEY (tenant_id, execution_id, effect)
);
CREATE INDEX event_waits_by_name ON event_waits (tenant_id, core_id, name);

-- What the program that a Core last ran with declares about times, and the last slot that was served.
CREATE TABLE core_schedules (
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    name TEXT NOT NULL,
    flow TEXT NOT NULL,
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    catch_up TEXT NOT NULL,
    last_slot TIMESTAMPTZ,
    PRIMARY KEY (tenant_id, core_id, name)
);

-- Events of other Cores that start flows of a Core.
CREATE TABLE core_subscriptions (
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    from_slug TEXT NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (tenant_id, core_id, from_slug, event)
);

-- Instances that are active; one that is passive has no row.
CREATE TABLE core_instances (
    tenant_id TEXT NOT NULL,
    core_id TEXT NOT NULL,
    key TEXT NOT NULL,
    activated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, core_id, key)
);

-- How many executions of the same instance may run at once; none where there is no such bound. Those that are bounded have
-- an index of their own, in which each instance's stand in order.
ALTER TABLE executions ADD COLUMN slots INTEGER;
DROP INDEX executions_to_run;
CREATE INDEX executions_to_run ON executions (status, owner, id)
    WHERE status IN ('queued', 'running') AND slots IS NULL;
CREATE INDEX executions_in_turn ON executions (core_id, instance_key, id)
    WHERE status IN ('queued', 'running') AND slots IS NOT NULL;
