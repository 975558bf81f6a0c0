-- Programs list keys in the order of their code points, and by prefix, whatever language the database is set to.
ALTER TABLE core_memory ALTER COLUMN key TYPE TEXT COLLATE "C";
