-- By which Cores are found: every text of one to three characters that their names (in small letters) and slugs contain. A list goes
-- from its newest end, so the Cores that have a text stand in the order of their ids.
CREATE TABLE core_grams (
    tenant_id TEXT NOT NULL,
    gram TEXT NOT NULL,
    core_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, gram, core_id)
) WITHOUT ROWID;

INSERT INTO core_grams (tenant_id, gram, core_id)
WITH RECURSIVE texts (tenant_id, core_id, rest) AS (
    SELECT tenant_id, id, lower(name) FROM cores
    UNION ALL SELECT tenant_id, id, slug FROM cores
    UNION ALL SELECT tenant_id, core_id, substr(rest, 2) FROM texts WHERE length(rest) > 1
)
SELECT DISTINCT t.tenant_id, substr(t.rest, 1, s.size), t.core_id
FROM texts t, (SELECT 1 AS size UNION ALL SELECT 2 UNION ALL SELECT 3) s
WHERE length(t.rest) >= s.size;

-- The database keeps it: whoever writes Cores, restores them from a backup or fills tables by hand need not think of it.
CREATE TRIGGER core_grams_of_new AFTER INSERT ON cores
BEGIN
    INSERT INTO core_grams (tenant_id, gram, core_id)
    SELECT DISTINCT new.tenant_id, substr(t.rest, 1, s.size), new.id
    FROM (
        WITH RECURSIVE texts (rest) AS (
            SELECT lower(new.name)
            UNION ALL SELECT new.slug
            UNION ALL SELECT substr(rest, 2) FROM texts WHERE length(rest) > 1
        )
        SELECT rest FROM texts
    ) t, (SELECT 1 AS size UNION ALL SELECT 2 UNION ALL SELECT 3) s
    WHERE length(t.rest) >= s.size;
END;

CREATE TRIGGER core_grams_of_renamed AFTER UPDATE OF name, slug ON cores
WHEN old.name <> new.name OR old.slug <> new.slug
BEGIN
    DELETE FROM core_grams WHERE tenant_id = old.tenant_id AND core_id = old.id AND gram IN (
        SELECT substr(t.rest, 1, s.size)
        FROM (
            WITH RECURSIVE texts (rest) AS (
                SELECT lower(old.name)
                UNION ALL SELECT old.slug
                UNION ALL SELECT substr(rest, 2) FROM texts WHERE length(rest) > 1
            )
            SELECT rest FROM texts
        ) t, (SELECT 1 AS size UNION ALL SELECT 2 UNION ALL SELECT 3) s
        WHERE length(t.rest) >= s.size
    );
    INSERT INTO core_grams (tenant_id, gram, core_id)
    SELECT DISTINCT new.tenant_id, substr(t.rest, 1, s.size), new.id
    FROM (
        WITH RECURSIVE texts (rest) AS (
            SELECT lower(new.name)
            UNION ALL SELECT new.slug
            UNION ALL SELECT substr(rest, 2) FROM texts WHERE length(rest) > 1
        )
        SELECT rest FROM texts
    ) t, (SELECT 1 AS size UNION ALL SELECT 2 UNION ALL SELECT 3) s
    WHERE length(t.rest) >= s.size;
END;

CREATE TRIGGER core_grams_of_removed AFTER DELETE ON cores
BEGIN
    DELETE FROM core_grams WHERE tenant_id = old.tenant_id AND core_id = old.id AND gram IN (
        SELECT substr(t.rest, 1, s.size)
        FROM (
            WITH RECURSIVE texts (rest) AS (
                SELECT lower(old.name)
                UNION ALL SELECT old.slug
                UNION ALL SELECT substr(rest, 2) FROM texts WHERE length(rest) > 1
            )
            SELECT rest FROM texts
        ) t, (SELECT 1 AS size UNION ALL SELECT 2 UNION ALL SELECT 3) s
        WHERE length(t.rest) >= s.size
    );
END;

-- How long the pictures of Cores are, so that they count like whatever else lies in the store. One that was there before counts as
-- nothing until it is replaced.
ALTER TABLE avatar_objects ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;

CREATE TRIGGER tallies_of_new_avatars AFTER INSERT ON avatar_objects
BEGIN
    INSERT INTO tallies (tenant_id, figure, value)
    VALUES (new.tenant_id, 'storage.objects', 1), (new.tenant_id, 'storage.bytes', new.bytes)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
END;

CREATE TRIGGER tallies_of_changed_avatars AFTER UPDATE OF bytes ON avatar_objects
BEGIN
    INSERT INTO tallies (tenant_id, figure, value)
    VALUES (new.tenant_id, 'storage.bytes', new.bytes - old.bytes)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
END;

CREATE TRIGGER tallies_of_removed_avatars AFTER DELETE ON avatar_objects
BEGIN
    INSERT INTO tallies (tenant_id, figure, value)
    VALUES (old.tenant_id, 'storage.objects', -1), (old.tenant_id, 'storage.bytes', -old.bytes)
    ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
END;

INSERT INTO tallies (tenant_id, figure, value)
SELECT tenant_id, 'storage.objects', count(*) FROM avatar_objects WHERE true GROUP BY tenant_id
ON CONFLICT (tenant_id, figure, id) DO UPDATE SET value = value + excluded.value;
