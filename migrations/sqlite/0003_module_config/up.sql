-- What each level has configured of each module. `config` has null where a secret belongs; `secrets` has them sealed, by
-- their place; `origins` tells of each value when it was given and by whom.
CREATE TABLE module_configs (
    level TEXT NOT NULL,
    scope_id TEXT NOT NULL,
    module_id TEXT NOT NULL,
    config BLOB NOT NULL,
    secrets BLOB NOT NULL,
    origins BLOB NOT NULL,
    revision BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (level, scope_id, module_id)
) WITHOUT ROWID;
