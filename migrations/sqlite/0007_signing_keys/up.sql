-- The keys that the platform signs with who a call is made for. The youngest signs once it has been published for a while.

CREATE TABLE signing_keys (
    generation INTEGER NOT NULL,
    id TEXT NOT NULL,
    public_key BLOB NOT NULL,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (generation),
    UNIQUE (id)
) WITHOUT ROWID;
