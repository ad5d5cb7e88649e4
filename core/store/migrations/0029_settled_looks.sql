-- A job that is settled together with its report keeps its time until Temporal has the end of its wait.
-- The index also serves the claims of the last version, which name the state.
DROP INDEX jobs_next_look;
CREATE INDEX jobs_next_look ON jobs (next_look_at) WHERE next_look_at IS NOT NULL AND NOT orphan;
UPDATE jobs SET next_look_at = NULL WHERE next_look_at IS NOT NULL AND state <> 'submitted';
