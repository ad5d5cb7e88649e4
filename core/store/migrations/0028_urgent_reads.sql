-- Take one read from a provider key's rate for what a user or a send of unknown outcome waits for, and
-- return after which time the next one is granted. Such reads overdraw the rate of the status reads, which
-- then wait; three quarters of the rate are theirs at most, so that status reads never stop.
-- As takeone_system.
CREATE FUNCTION take_urgent_read(
    scope_ text, per_minute bigint, OUT granted boolean, OUT next_seconds double precision
) RETURNS record LANGUAGE plpgsql AS $$
DECLARE
    step CONSTANT interval := rate_step(interval '1 minute', per_minute);
    burst CONSTANT interval := interval '6 seconds';
    taken record;
BEGIN
    SELECT * INTO taken FROM take_provider_reads(scope_ || '/urgent', 1, greatest(per_minute * 3 / 4, 1));
    granted := taken.granted = 1;
    next_seconds := taken.next_seconds;
    IF NOT granted THEN
        RETURN;
    END IF;
    -- The same bounds as in take_provider_reads: a burst of each stays below two bursts.
    INSERT INTO rate_limits AS r (subject, class, arrival_at)
    VALUES ('provider/' || scope_, 'reads', clock_timestamp() + step)
    ON CONFLICT (subject, class) DO UPDATE
    SET arrival_at = step + CASE
        WHEN r.arrival_at > clock_timestamp() + 2 * burst THEN clock_timestamp()
        ELSE greatest(r.arrival_at, clock_timestamp())
    END;
END $$;

REVOKE EXECUTE ON FUNCTION take_urgent_read FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_urgent_read TO takeone_system;
