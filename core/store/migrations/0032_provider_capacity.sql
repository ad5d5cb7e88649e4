-- The slots of a provider key as one job finds them, in one round trip: see core/store/providers/capacity.py.
--
-- announce_: the transaction may send the job. It announces itself first, then counts the
-- announcements of others, then the rows, each in a statement of its own: an admitted job is visible
-- to all that count later, as an announcement or as a row. No transaction waits for another, so a
-- stalled one takes no more than its own slot.
--
-- The rows of all users count, so the function takes the system role until it returns, which succeeds
-- only for a login that could take this role itself.
CREATE FUNCTION read_capacity(
    announce_ boolean, scope_ text, job_id_ text, user_id_ text, continuing_ boolean,
    waiter_life_seconds double precision, overdue_seconds double precision,
    OUT announced integer, OUT tripped_at timestamptz, OUT probe_seconds double precision,
    OUT pause_seconds double precision, OUT is_probed boolean, OUT in_flight integer, OUT before_ integer,
    OUT waited boolean
) RETURNS record LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    caller CONSTANT text := current_setting('role');
BEGIN
    PERFORM set_config('role', 'takeone_system', true);
    announced := 0;
    IF announce_ THEN
        PERFORM pg_advisory_xact_lock(hashtext('slot/' || scope_), pg_backend_pid());
        SELECT count(*) INTO announced FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 2
          AND classid = (hashtext('slot/' || scope_)::bigint & 4294967295)::oid
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND pid <> pg_backend_pid();
    END IF;
    -- Order among waiting jobs: the user with the fewest jobs in flight first, then jobs that continue
    -- a paid step, then the longest wait.
    WITH flying AS (
        SELECT user_id, count(*)::int AS number FROM jobs
        WHERE provider = split_part(scope_, '/', 1)
          AND provider_key_id IS NOT DISTINCT FROM nullif(split_part(scope_, '/', 2), '')
          AND state IN ('submitting', 'unknown', 'submitted')
          AND deadline_at > now() - make_interval(secs => overdue_seconds)
        GROUP BY user_id
    ), mine AS (
        SELECT coalesce((SELECT number FROM flying WHERE user_id = user_id_), 0) AS number,
               coalesce((SELECT since FROM submit_queue WHERE job_id = job_id_), 'infinity') AS since
    )
    SELECT s.tripped_at, extract(epoch FROM s.probe_at - clock_timestamp()),
           extract(epoch FROM s.quiet_until - clock_timestamp()), s.probe_job_id IS NOT NULL,
           coalesce((SELECT sum(number) FROM flying), 0),
           (SELECT count(*) FROM submit_queue AS w LEFT JOIN flying AS f ON f.user_id = w.user_id
            WHERE w.provider = scope_ AND w.job_id <> job_id_
              AND w.seen_at > clock_timestamp() - make_interval(secs => waiter_life_seconds)
              AND (coalesce(f.number, 0), NOT w.continuing, w.since, w.job_id)
                < (mine.number, NOT continuing_, mine.since, job_id_)),
           mine.since < 'infinity'
    INTO tripped_at, probe_seconds, pause_seconds, is_probed, in_flight, before_, waited
    FROM mine LEFT JOIN provider_states AS s ON s.provider = scope_;
    PERFORM set_config('role', caller, true);
END $$;

REVOKE EXECUTE ON FUNCTION read_capacity FROM PUBLIC;
GRANT EXECUTE ON FUNCTION read_capacity TO takeone_app, takeone_system;
