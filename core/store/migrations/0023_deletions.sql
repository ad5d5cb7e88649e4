-- Deletion of executions, and of files that are no longer kept.

-- Set: prompt, metadata, results, webhooks and files are gone. The row stays, because the ledger
-- refers to it, and no user can read it.
ALTER TABLE executions ADD COLUMN deleted_at timestamptz;

-- The receipt of each deletion.
CREATE TABLE execution_deletions (
    execution_id  text PRIMARY KEY REFERENCES executions,
    user_id       text NOT NULL REFERENCES users,
    files         bigint NOT NULL,
    bytes         bigint NOT NULL,
    webhooks      bigint NOT NULL,
    deleted_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON execution_deletions (user_id);

-- Files to delete from object storage. A row is removed once its file is gone.
CREATE TABLE file_deletions (
    object_key    text PRIMARY KEY,
    user_id       text NOT NULL REFERENCES users,
    execution_id  text NOT NULL REFERENCES executions,
    requested_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON file_deletions (requested_at);
CREATE INDEX ON file_deletions (execution_id);

CALL enable_row_security('execution_deletions');
CALL enable_row_security('file_deletions');
GRANT SELECT, INSERT ON execution_deletions, file_deletions TO takeone_app, takeone_system;
GRANT DELETE ON file_deletions TO takeone_system;
GRANT DELETE ON assets, webhooks, webhook_attempts TO takeone_app, takeone_system;
GRANT UPDATE (parameters) ON steps TO takeone_app, takeone_system;
