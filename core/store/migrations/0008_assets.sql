-- Files of finished jobs in object storage.

CREATE TABLE assets (
    asset_id      text PRIMARY KEY,
    job_id        text NOT NULL REFERENCES jobs,
    output_number integer NOT NULL,
    execution_id  text NOT NULL REFERENCES executions,
    user_id       text NOT NULL REFERENCES users,
    kind          text NOT NULL,
    object_key    text NOT NULL UNIQUE,
    size_bytes    bigint NOT NULL CHECK (size_bytes > 0),
    sha256        text NOT NULL,
    content_type  text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (job_id, output_number)
);
CREATE INDEX ON assets (execution_id);

CALL enable_row_security('assets');
GRANT SELECT, INSERT ON assets TO takeone_app, takeone_system;
