UPDATE tallies SET value = value - (SELECT count(*) FROM avatar_objects a WHERE a.tenant_id = tallies.tenant_id)
WHERE figure = 'storage.objects';
UPDATE tallies SET value = value - (SELECT coalesce(sum(bytes), 0) FROM avatar_objects a WHERE a.tenant_id = tallies.tenant_id)
WHERE figure = 'storage.bytes';
DROP TRIGGER tallies_of_removed_avatars;
DROP TRIGGER tallies_of_changed_avatars;
DROP TRIGGER tallies_of_new_avatars;
ALTER TABLE avatar_objects DROP COLUMN bytes;
DROP TRIGGER core_grams_of_removed;
DROP TRIGGER core_grams_of_renamed;
DROP TRIGGER core_grams_of_new;
DROP TABLE core_grams;
