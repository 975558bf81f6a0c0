-- By which Cores are found: every text of one to three characters that their names (in small letters) and slugs contain. A list goes
-- from its newest end, so the Cores that have a text stand in the order of their ids.
CREATE TABLE core_grams (
    tenant_id TEXT NOT NULL,
    gram TEXT COLLATE "C" NOT NULL,
    core_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, gram, core_id)
);

-- Small letters are those of ASCII, whatever the database takes for its locale.
CREATE FUNCTION grams_of_core (name TEXT, slug TEXT) RETURNS SETOF TEXT LANGUAGE sql IMMUTABLE AS $$
    SELECT DISTINCT substr(whole, place, size)
    FROM (VALUES (lower(name COLLATE "C")), (slug)) AS texts (whole),
        generate_series(1, 3) AS sizes (size),
        generate_series(1, length(whole) - size + 1) AS places (place)
$$;

-- The database keeps it: whoever writes Cores, restores them from a backup or fills tables by hand need not think of it.
CREATE FUNCTION keep_grams_of_core () RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM core_grams WHERE tenant_id = OLD.tenant_id AND core_id = OLD.id
            AND gram IN (SELECT * FROM grams_of_core(OLD.name, OLD.slug));
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO core_grams (tenant_id, gram, core_id)
        SELECT NEW.tenant_id, gram, NEW.id FROM grams_of_core(NEW.name, NEW.slug) AS g (gram);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER core_grams_of_new AFTER INSERT ON cores
FOR EACH ROW EXECUTE FUNCTION keep_grams_of_core();

CREATE TRIGGER core_grams_of_renamed AFTER UPDATE OF name, slug ON cores
FOR EACH ROW WHEN (OLD.name <> NEW.name OR OLD.slug <> NEW.slug)
EXECUTE FUNCTION keep_grams_of_core();

CREATE TRIGGER core_grams_of_removed AFTER DELETE ON cores
FOR EACH ROW EXECUTE FUNCTION keep_grams_of_core();

-- What is there already. From the making of the triggers on nobody else writes Cores until this is done.
INSERT INTO core_grams (tenant_id, gram, core_id)
SELECT c.tenant_id, g.gram, c.id FROM cores c, grams_of_core(c.name, c.slug) AS g (gram);

-- How long the pictures of Cores are, so that they count like whatever else lies in the store. One that was there before counts as
-- nothing until it is replaced.
ALTER TABLE avatar_objects ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;

CREATE FUNCTION keep_avatars () RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO tallies (tenant_id, figure, value)
        VALUES (NEW.tenant_id, 'storage.objects', 1), (NEW.tenant_id, 'storage.bytes', NEW.bytes);
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO tallies (tenant_id, figure, value)
        VALUES (NEW.tenant_id, 'storage.bytes', NEW.bytes - OLD.bytes);
    ELSE
        INSERT INTO tallies (tenant_id, figure, value)
        VALUES (OLD.tenant_id, 'storage.objects', -1), (OLD.tenant_id, 'storage.bytes', -OLD.bytes);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER tallies_of_new_avatars AFTER INSERT ON avatar_objects
FOR EACH ROW EXECUTE FUNCTION keep_avatars();
CREATE TRIGGER tallies_of_changed_avatars AFTER UPDATE OF bytes ON avatar_objects
FOR EACH ROW WHEN (OLD.bytes <> NEW.bytes) EXECUTE FUNCTION keep_avatars();
CREATE TRIGGER tallies_of_removed_avatars AFTER DELETE ON avatar_objects
FOR EACH ROW EXECUTE FUNCTION keep_avatars();

INSERT INTO tallies (tenant_id, figure, value)
SELECT tenant_id, 'storage.objects', count(*) FROM avatar_objects GROUP BY tenant_id;
