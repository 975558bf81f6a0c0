-- Figures that grow with use, kept by whoever writes what is counted, in the same transaction: by triggers, so that no way of
-- writing is forgotten.

-- How many there are of what, in a tenant. There is one who writes, and so the row 0 alone, which is the sum.
CREATE TABLE tallies (
    tenant_id TEXT NOT NULL,
    figure TEXT NOT NULL,
    id BIGINT NOT NULL DEFAULT 0,
    value BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, figure, id)
) WITHOUT ROWID;
CREATE INDEX tallies_unfolded ON tallies (id) WHERE id > 0;

-- What calls of models have used, by the hour in which they were made; rows as above.
CREATE TABLE model_usage_hours (
    tenant_id TEXT NOT NULL,
    hour BIGINT NOT NULL,
    model TEXT NOT NULL,
    id BIGINT NOT NULL DEFAULT 0,
    requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, hour, model, id)
) WITHOUT ROWID;
CREATE INDEX model_usage_hours_unfolded ON model_usage_hours (id) WHERE id > 0;
-- What lies before the first whole hour of a period, and behind the last, is counted record by record.
CREATE INDEX model_usage_by_time ON model_usage (tenant_id, created_at);

-- Cores, by status.
CREATE TRIGGER tallies_of_new_cores AFTER INSERT ON cores BEGIN
    INSERT INTO tallies (tenant_id, figure, value) VALUES (NEW.tenant_id, 'cores.' || NEW.status, 1)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
END;
CREATE TRIGGER tallies_of_changed_cores AFTER UPDATE OF tenant_id, status ON cores
WHEN NEW.status <> OLD.status OR NEW.tenant_id <> OLD.tenant_id BEGIN
    INSERT INTO tallies (tenant_id, figure, value) VALUES (OLD.tenant_id, 'cores.' || OLD.status, -1)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
    INSERT INTO tallies (tenant_id, figure, value) VALUES (NEW.tenant_id, 'cores.' || NEW.status, 1)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
END;
CREATE TRIGGER tallies_of_removed_cores AFTER DELETE ON cores BEGIN
    INSERT INTO tallies (tenant_id, figure, value) VALUES (OLD.tenant_id, 'cores.' || OLD.status, -1)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
END;

-- Checkpoints, by status.
CREATE TRIGGER tallies_of_new_checkpoints AFTER INSERT ON checkpoints BEGIN
    INSERT INTO tallies (tenant_id, figure, value) VALUES (NEW.tenant_id, 'checkpoints.' || NEW.status, 1)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
END;
CREATE TRIGGER tallies_of_changed_checkpoints AFTER UPDATE OF tenant_id, status ON checkpoints
WHEN NEW.status <> OLD.status OR NEW.tenant_id <> OLD.tenant_id BEGIN
    INSERT INTO tallies (tenant_id, figure, value) VALUES (OLD.tenant_id, 'checkpoints.' || OLD.status, -1)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
    INSERT INTO tallies (tenant_id, figure, value) VALUES (NEW.tenant_id, 'checkpoints.' || NEW.status, 1)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
END;
CREATE TRIGGER tallies_of_removed_checkpoints AFTER DELETE ON checkpoints BEGIN
    INSERT INTO tallies (tenant_id, figure, value) VALUES (OLD.tenant_id, 'checkpoints.' || OLD.status, -1)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
END;

-- What lies in the store. How long an object is never changes.
CREATE TRIGGER tallies_of_new_objects AFTER INSERT ON objects BEGIN
    INSERT INTO tallies (tenant_id, figure, value) VALUES (NEW.tenant_id, 'storage.objects', 1)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
    INSERT INTO tallies (tenant_id, figure, value) VALUES (NEW.tenant_id, 'storage.bytes', NEW.bytes)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
END;
CREATE TRIGGER tallies_of_removed_objects AFTER DELETE ON objects BEGIN
    INSERT INTO tallies (tenant_id, figure, value) VALUES (OLD.tenant_id, 'storage.objects', -1)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
    INSERT INTO tallies (tenant_id, figure, value) VALUES (OLD.tenant_id, 'storage.bytes', -OLD.bytes)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
END;

-- What was used stays used: a record that is removed because its time is over takes nothing away.
CREATE TRIGGER hours_of_new_model_usage AFTER INSERT ON model_usage BEGIN
    INSERT INTO model_usage_hours (tenant_id, hour, model, requests, input_tokens, output_tokens)
    VALUES (NEW.tenant_id, NEW.created_at - NEW.created_at % 3600000000, NEW.model, 1, NEW.input_tokens, NEW.output_tokens)
    ON CONFLICT (tenant_id, hour, model, id) DO UPDATE SET requests = requests + excluded.requests,
        input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens;
END;
CREATE TRIGGER hours_of_changed_model_usage AFTER UPDATE OF tenant_id, created_at, model, input_tokens, output_tokens ON model_usage BEGIN
    INSERT INTO model_usage_hours (tenant_id, hour, model, requests, input_tokens, output_tokens)
    VALUES (OLD.tenant_id, OLD.created_at - OLD.created_at % 3600000000, OLD.model, -1, -OLD.input_tokens, -OLD.output_tokens)
    ON CONFLICT (tenant_id, hour, model, id) DO UPDATE SET requests = requests + excluded.requests,
        input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens;
    INSERT INTO model_usage_hours (tenant_id, hour, model, requests, input_tokens, output_tokens)
    VALUES (NEW.tenant_id, NEW.created_at - NEW.created_at % 3600000000, NEW.model, 1, NEW.input_tokens, NEW.output_tokens)
    ON CONFLICT (tenant_id, hour, model, id) DO UPDATE SET requests = requests + excluded.requests,
        input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens;
END;

-- What is there already.
INSERT INTO tallies (tenant_id, figure, value)
SELECT tenant_id, 'cores.' || status, count(*) FROM cores GROUP BY tenant_id, status
UNION ALL
SELECT tenant_id, 'checkpoints.' || status, count(*) FROM checkpoints GROUP BY tenant_id, status
UNION ALL
SELECT tenant_id, 'storage.objects', count(*) FROM objects GROUP BY tenant_id
UNION ALL
SELECT tenant_id, 'storage.bytes', sum(bytes) FROM objects GROUP BY tenant_id;
INSERT INTO model_usage_hours (tenant_id, hour, model, requests, input_tokens, output_tokens)
SELECT tenant_id, created_at - created_at % 3600000000, model, count(*), sum(input_tokens), sum(output_tokens)
FROM model_usage GROUP BY 1, 2, 3;

-- What the log of a tenant is searched by: each, and who did what, without passing over all others. Failures are few.
CREATE INDEX audit_records_by_deed ON audit_records (tenant_id, actor_id, action, id) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_records_by_address ON audit_records (tenant_id, ip_address, id) WHERE ip_address IS NOT NULL;
CREATE INDEX audit_records_by_module ON audit_records (tenant_id, module, id) WHERE module IS NOT NULL;
CREATE INDEX audit_records_failed ON audit_records (tenant_id, id) WHERE status = 'FAILURE';
-- With its tenant in it the log of an actor is read without the records themselves.
DROP INDEX audit_records_by_actor;
CREATE INDEX audit_records_by_actor ON audit_records (actor_id, id, tenant_id);
-- Records whose ids are of a time more than five seconds after the one that they tell of, since a clock was put back: next to none.
-- With them aside, the bounds of a time are bounds of ids.
CREATE INDEX audit_records_late ON audit_records (id) WHERE
    (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 7, 1)) - 1) * 35184372088832
    + (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 8, 1)) - 1) * 1099511627776
    + (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 9, 1)) - 1) * 34359738368
    + (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 10, 1)) - 1) * 1073741824
    + (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 11, 1)) - 1) * 33554432
    + (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 12, 1)) - 1) * 1048576
    + (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 13, 1)) - 1) * 32768
    + (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 14, 1)) - 1) * 1024
    + (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 15, 1)) - 1) * 32
    + (instr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', substr(id, 16, 1)) - 1)
    > at / 1000 + 5000;
