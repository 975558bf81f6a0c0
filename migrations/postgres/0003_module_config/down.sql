DROP TABLE module_configs;
