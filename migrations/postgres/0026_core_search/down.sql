INSERT INTO tallies (tenant_id, figure, value)
SELECT tenant_id, 'storage.objects', -count(*) FROM avatar_objects GROUP BY tenant_id
UNION ALL
SELECT tenant_id, 'storage.bytes', -sum(bytes)::bigint FROM avatar_objects GROUP BY tenant_id;
DROP TRIGGER tallies_of_removed_avatars ON avatar_objects;
DROP TRIGGER tallies_of_changed_avatars ON avatar_objects;
DROP TRIGGER tallies_of_new_avatars ON avatar_objects;
DROP FUNCTION keep_avatars;
ALTER TABLE avatar_objects DROP COLUMN bytes;
DROP TRIGGER core_grams_of_removed ON cores;
DROP TRIGGER core_grams_of_renamed ON cores;
DROP TRIGGER core_grams_of_new ON cores;
DROP FUNCTION keep_grams_of_core;
DROP FUNCTION grams_of_core;
DROP TABLE core_grams;
