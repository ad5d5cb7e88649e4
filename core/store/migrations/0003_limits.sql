-- Limits: open and running executions of a user, what an execution may cost, what the whole service may spend in a day.

ALTER TABLE users ADD COLUMN open_limit bigint CHECK (open_limit >= 0);           -- NULL: the setting's default
ALTER TABLE users ADD COLUMN running_limit bigint CHECK (running_limit >= 1);     -- NULL: the setting's default

-- How many executions of a user have not ended (queued and running), and how many of them run.
CREATE TABLE loads (
    user_id             text PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    open_executions     bigint NOT NULL DEFAULT 0 CHECK (open_executions >= 0),
    running_executions  bigint NOT NULL DEFAULT 0 CHECK (running_executions >= 0)
);
ALTER TABLE loads ENABLE ROW LEVEL SECURITY;
ALTER TABLE loads FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON loads TO takeone_app USING (user_id = current_setting('takeone.user_id', true));
CREATE POLICY all_rows ON loads TO takeone_system USING (true);
GRANT SELECT, INSERT, UPDATE ON loads TO takeone_app, takeone_system;

-- Who is next: the queued executions of a user, the oldest first.
CREATE INDEX executions_queued ON executions (user_id, queued_at, execution_id) WHERE status = 'queued';

-- What its user allows an execution to cost, over all its generations. NULL: no limit.
ALTER TABLE executions ADD COLUMN max_cost_nano_usd bigint CHECK (max_cost_nano_usd >= 0);

-- The day (UTC) of the hold.
ALTER TABLE charges ADD COLUMN budget_day date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date;

-- Checked counters over all users, by the day of the hold. A real cost above the hold always commits.
CREATE TABLE service_days (
    day               date PRIMARY KEY,
    held_nano_usd     bigint NOT NULL DEFAULT 0 CHECK (held_nano_usd >= 0),
    settled_nano_usd  bigint NOT NULL DEFAULT 0 CHECK (settled_nano_usd >= 0)
);
CREATE TABLE service_limits (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    daily_nano_usd  bigint CHECK (daily_nano_usd >= 0)                            -- NULL: no limit
);
INSERT INTO service_limits DEFAULT VALUES;
GRANT SELECT, INSERT, UPDATE ON service_days TO takeone_app, takeone_system;
GRANT SELECT ON service_limits TO takeone_app;
GRANT SELECT, UPDATE ON service_limits TO takeone_system;

-- What is there already is counted. The owner sees no rows through forced row-level security.
ALTER TABLE executions NO FORCE ROW LEVEL SECURITY;
ALTER TABLE charges NO FORCE ROW LEVEL SECURITY;
ALTER TABLE loads NO FORCE ROW LEVEL SECURITY;
INSERT INTO loads (user_id, open_executions, running_executions)
SELECT user_id, count(*), count(*) FILTER (WHERE status = 'running')
FROM executions WHERE status IN ('queued', 'running') GROUP BY user_id;
UPDATE charges SET budget_day = (created_at AT TIME ZONE 'UTC')::date;
INSERT INTO service_days (day, held_nano_usd, settled_nano_usd)
SELECT budget_day, coalesce(sum(held_nano_usd) FILTER (WHERE state = 'held'), 0), sum(settled_nano_usd)
FROM charges GROUP BY budget_day;
ALTER TABLE executions FORCE ROW LEVEL SECURITY;
ALTER TABLE charges FORCE ROW LEVEL SECURITY;
ALTER TABLE loads FORCE ROW LEVEL SECURITY;
