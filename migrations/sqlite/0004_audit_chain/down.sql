DROP INDEX audit_records_by_action;
DROP INDEX audit_records_by_resource;
DROP INDEX audit_records_by_actor;
DROP INDEX audit_records_by_partner;
DROP TABLE audit_root;
DROP TABLE audit_chains;
DROP TABLE audit_seals;
DROP TABLE audit_unsealed;
