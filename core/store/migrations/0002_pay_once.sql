-- Orphans, the high-water mark, pauses of paid submits, retries, and what operators did by hand.

-- A purchase that nobody waits for: an earlier send of a job turned out to have been accepted after all.
ALTER TABLE jobs ADD COLUMN orphan boolean NOT NULL DEFAULT false;
DROP INDEX jobs_one_open_per_step;
-- At most one job of a step can be bought at a time.
CREATE UNIQUE INDEX jobs_one_open_per_step ON jobs (execution_id, step_name)
    WHERE state IN ('waiting', 'submitting', 'unknown', 'submitted') AND NOT orphan;

-- Every send has the next number of the whole database. A number that was seen before means that the database has gone
-- back to the past.
CREATE SEQUENCE send_serials;
ALTER TABLE sends ADD COLUMN serial bigint NOT NULL DEFAULT nextval('send_serials');
ALTER TABLE sends ADD COLUMN sender text NOT NULL DEFAULT '';        -- the one call of an activity that made it
CREATE UNIQUE INDEX ON sends (serial);
GRANT USAGE ON SEQUENCE send_serials TO takeone_app, takeone_system;
GRANT SELECT, UPDATE ON SEQUENCE send_serials TO takeone_system;     -- a recovered database goes on above its mark

-- The key that came with an execution: both were inserted in one transaction.
CREATE INDEX ON idempotency_keys (user_id, created_at);

-- The month in which the video of the current generation is counted.
ALTER TABLE executions ADD COLUMN budget_month date;
-- The owner sees no rows through forced row-level security.
ALTER TABLE executions NO FORCE ROW LEVEL SECURITY;
ALTER TABLE charges NO FORCE ROW LEVEL SECURITY;
UPDATE executions AS e
SET budget_month = (SELECT min(c.budget_month) FROM charges AS c WHERE c.execution_id = e.execution_id);
ALTER TABLE executions FORCE ROW LEVEL SECURITY;
ALTER TABLE charges FORCE ROW LEVEL SECURITY;
ALTER TABLE executions ALTER COLUMN budget_month SET DEFAULT date_trunc('month', now() AT TIME ZONE 'UTC')::date;

-- While a row is here, no paid call of its scope begins: 'all', 'provider/NAME' or 'user/usr_…'.
CREATE TABLE submit_pauses (
    scope       text PRIMARY KEY,
    reason      text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- What was done by hand. Only ever added to.
CREATE TABLE audit_log (
    audit_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    actor     text NOT NULL,                       -- who ran the command
    action    text NOT NULL,                       -- 'jobs adopt', 'jobs settle', 'submits pause', 'recover' …
    target    text NOT NULL,                       -- the id it was done to
    detail    jsonb NOT NULL DEFAULT '{}'
);

ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_log FORCE ROW LEVEL SECURITY;
CREATE POLICY all_rows ON audit_log TO takeone_system USING (true);

GRANT SELECT ON submit_pauses TO takeone_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON submit_pauses TO takeone_system;
GRANT SELECT, INSERT ON audit_log TO takeone_system;
GRANT INSERT ON sends TO takeone_system;
GRANT INSERT ON idempotency_keys TO takeone_system;
