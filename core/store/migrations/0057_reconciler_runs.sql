-- When each task of the reconciler last succeeded, for operators. The process that leads writes it.
CREATE TABLE reconciler_runs (
    task           text PRIMARY KEY,
    every_seconds  float8 NOT NULL,                      -- the pause between its runs
    succeeded_at   timestamptz NOT NULL
);

ALTER TABLE reconciler_runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE reconciler_runs FORCE ROW LEVEL SECURITY;
CREATE POLICY all_rows ON reconciler_runs TO takeone_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON reconciler_runs TO takeone_system;
