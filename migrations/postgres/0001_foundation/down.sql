-- The first migration: going down is an empty database.
DROP TABLE core_events;
DROP TABLE core_memory;
DROP TABLE checkpoints;
DROP TABLE execution_inbox;
DROP TABLE journal;
DROP TABLE executions;
DROP TABLE core_versions;
DROP TABLE cores;
DROP TABLE idempotency_keys;
DROP TABLE audit_records;
DROP TABLE module_settings;
DROP TABLE api_keys;
DROP TABLE users;
DROP TABLE tenants;
DROP TABLE partners;
DROP TABLE nodes;
DROP TABLE platform_facts;
