-- When a submitted job is looked at next, and by that its lease: a worker that looks at it first moves
-- the time ahead. NULL: no workflow waits for the job.
ALTER TABLE jobs
    ADD COLUMN next_look_at timestamptz,
    ADD COLUMN failed_looks integer NOT NULL DEFAULT 0,        -- in a row, without an answer
    ADD COLUMN calls_back boolean NOT NULL DEFAULT false;      -- the current send asked for a callback
CREATE INDEX jobs_next_look ON jobs (next_look_at) WHERE state = 'submitted' AND NOT orphan;
UPDATE jobs SET next_look_at = now() WHERE state = 'submitted' AND NOT orphan;

-- Take up to this many reads from a provider key's rate and return how many were granted, and after
-- which time the next one is. GCRA as above, with a burst of a tenth of a minute. As takeone_system.
CREATE FUNCTION take_provider_reads(
    scope_ text, wanted integer, per_minute bigint, OUT granted integer, OUT next_seconds double precision
) RETURNS record LANGUAGE plpgsql AS $$
DECLARE
    step CONSTANT interval := rate_step(interval '1 minute', per_minute);
    burst CONSTANT interval := interval '6 seconds';
    arrival timestamptz;
    moment timestamptz;
BEGIN
    INSERT INTO rate_limits (subject, class, arrival_at) VALUES ('provider/' || scope_, 'reads', clock_timestamp())
    ON CONFLICT DO NOTHING;
    SELECT arrival_at INTO arrival FROM rate_limits
    WHERE subject = 'provider/' || scope_ AND class = 'reads' FOR UPDATE;
    moment := clock_timestamp();
    IF arrival < moment OR arrival > moment + 2 * burst THEN  -- unused, or left by a clock that was ahead
        arrival := moment;
    END IF;
    granted := least(wanted, floor(extract(epoch FROM moment + burst - arrival) / extract(epoch FROM step)));
    granted := greatest(granted, 0);
    arrival := arrival + granted * step;
    UPDATE rate_limits SET arrival_at = arrival WHERE subject = 'provider/' || scope_ AND class = 'reads';
    next_seconds := greatest(extract(epoch FROM arrival + step - burst - moment), 0);
END $$;
