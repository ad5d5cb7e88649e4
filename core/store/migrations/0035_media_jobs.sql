-- Media steps: jobs on our own processors, without a provider, a send or a charge.

-- warnings: sentences about what was made, for the user. reused_from: the job whose files were
-- copied, because it made the same of the same. processor_ms: the processor time of the last try.
ALTER TABLE jobs ADD COLUMN warnings jsonb, ADD COLUMN reused_from text REFERENCES jobs,
                 ADD COLUMN processor_ms bigint;

-- Which job makes, or made, the files of a content key: a hash of a media step's parameters, the
-- bytes of its inputs and the engine. The primary key lets one job make them at a time.
CREATE TABLE content_keys (
    user_id     text NOT NULL REFERENCES users,
    content_key text NOT NULL,
    job_id      text NOT NULL REFERENCES jobs,
    claimed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, content_key)
);
CREATE INDEX ON content_keys (job_id);

-- What media steps used, by the day (UTC) of their end.
CREATE TABLE usage_media (
    user_id       text NOT NULL REFERENCES users,
    day           date NOT NULL,
    jobs          bigint NOT NULL,
    processor_ms  bigint NOT NULL,
    PRIMARY KEY (user_id, day)
) WITH (fillfactor = 50);

CALL enable_row_security('content_keys');
CALL enable_row_security('usage_media');
GRANT SELECT, INSERT, DELETE, UPDATE (job_id, claimed_at) ON content_keys TO takeone_app, takeone_system;
GRANT SELECT, INSERT, UPDATE ON usage_media TO takeone_app, takeone_system;
-- A media job's file has its place in the queue of deletions until its asset is recorded, and a
-- repeated try keeps the place longer.
GRANT UPDATE (requested_at) ON file_deletions TO takeone_app;
