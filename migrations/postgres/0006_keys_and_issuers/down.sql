DROP TABLE data_keys;
DROP INDEX tenants_by_scaikey_id;
DROP TABLE external_identities;
