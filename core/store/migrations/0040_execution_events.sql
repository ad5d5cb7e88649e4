-- What happened to an execution: numbered rows, inserted in the transaction of each change.

CREATE TABLE execution_events (
    execution_id  text NOT NULL,                    -- no foreign key: event_counters has it
    sequence      integer NOT NULL,                 -- 1, 2, … over all generations, without gaps
    user_id       text NOT NULL,
    generation    integer NOT NULL,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    type          text NOT NULL CHECK (type IN ('job', 'cost', 'progress', 'end')),
    data          jsonb NOT NULL,
    PRIMARY KEY (execution_id, sequence)
);

-- The last event of an execution, and what its events have shown so far.
CREATE TABLE event_counters (
    execution_id   text PRIMARY KEY REFERENCES executions,
    user_id        text NOT NULL REFERENCES users,
    last_sequence  integer NOT NULL DEFAULT 0,
    jobs           jsonb NOT NULL DEFAULT '{}',     -- by id, what makes a new event if it changes
    cost           jsonb,
    progress       jsonb
) WITH (fillfactor = 50);                           -- space for heap-only updates

-- A ticket opens one stream without an API key, once.
CREATE TABLE stream_tickets (
    ticket_sha256  bytea PRIMARY KEY,
    user_id        text NOT NULL REFERENCES users,
    execution_id   text NOT NULL REFERENCES executions,
    credential     text NOT NULL,                   -- whose streams it counts among
    expires_at     timestamptz NOT NULL
);
CREATE INDEX ON stream_tickets (user_id, expires_at);

CALL enable_row_security('execution_events');
CALL enable_row_security('event_counters');
CALL enable_row_security('stream_tickets');
GRANT SELECT, INSERT, DELETE ON execution_events, stream_tickets TO takeone_app, takeone_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON event_counters TO takeone_app, takeone_system;

-- Compare an execution with what its events have shown, insert an event for each difference, and notify
-- the API processes. The counter's row is locked until COMMIT, so numbers have no gaps, and the statements
-- after the lock see what its previous owner committed.
CREATE FUNCTION record_execution_events() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    id CONSTANT text := NEW.execution_id;
    before event_counters;
    e record;
    last integer;
BEGIN
    IF current_setting('takeone.recorded', true) = id THEN
        RETURN NULL;  -- an earlier trigger of this COMMIT has seen every change of the transaction
    END IF;
    PERFORM set_config('takeone.recorded', id, true);
    SELECT * INTO before FROM event_counters WHERE execution_id = id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO event_counters (execution_id, user_id) VALUES (id, NEW.user_id) ON CONFLICT DO NOTHING;
        SELECT * INTO before FROM event_counters WHERE execution_id = id FOR NO KEY UPDATE;
    END IF;
    SELECT status, generation, progress, error, estimated_nano_usd,
           status IN ('completed', 'failed', 'cancelled') AS ended, deleted_at IS NOT NULL AS deleted
    INTO e FROM executions WHERE execution_id = id;
    IF e.deleted THEN
        RETURN NULL;
    END IF;

    WITH job AS MATERIALIZED (
        SELECT j.job_id, j.step_name AS step, s.position, s.usual_seconds, j.state, j.provider, j.model, j.send_number,
               j.generation, j.supersedes, j.orphan, j.created_at, j.submitted_at, j.ended_at, j.updated_at, j.failure,
               c.state AS charge_state, c.basis, coalesce(c.held_nano_usd, 0) AS held_nano_usd,
               coalesce(c.settled_nano_usd, 0) AS settled_nano_usd, coalesce(j.warnings, '[]') AS warnings,
               j.reused_from, coalesce(j.saved_nano_usd, 0) AS saved_nano_usd,
               concat_ws('/', j.state, j.send_number, j.generation, j.orphan, j.submitted_at IS NOT NULL, c.state) AS mark
        FROM jobs AS j
        JOIN steps AS s ON s.execution_id = j.execution_id AND s.name = j.step_name
        LEFT JOIN charges AS c ON c.job_id = j.job_id
        WHERE j.execution_id = id
    ), latest AS (
        -- The current job of each step. A step counts from its first submission in the generation.
        SELECT DISTINCT ON (position) step, position, usual_seconds::float8, state,
               (SELECT min(o.submitted_at) FROM job AS o WHERE o.step = job.step AND o.generation = job.generation)
                   AS begun_at,
               state IN ('submitting', 'unknown', 'submitted')
                   OR state = 'waiting' AND (send_number > 0 OR submitted_at IS NOT NULL) AS runs
        FROM job WHERE NOT orphan ORDER BY position, generation DESC, job_id DESC
    ), summary AS (
        -- As core.domain.plans.progress_percent computes it.
        SELECT jsonb_build_object(
            'status', e.status,
            'progress', CASE WHEN e.ended THEN e.progress ELSE coalesce(floor(99 * sum(CASE
                WHEN state = 'completed' THEN usual_seconds
                WHEN begun_at IS NOT NULL
                    THEN least(greatest(extract(epoch FROM now() - begun_at)::float8, 0), 0.9 * usual_seconds)
                ELSE 0 END) / nullif(sum(usual_seconds), 0)), 0)::integer END,
            'current_job', CASE WHEN NOT e.ended THEN (array_agg(step ORDER BY position) FILTER (WHERE runs))[1] END,
            'completed_jobs', coalesce(jsonb_agg(step ORDER BY position) FILTER (WHERE state = 'completed'), '[]'),
            'failed_jobs', coalesce(jsonb_agg(step ORDER BY position) FILTER (WHERE state = 'failed'), '[]')
        ) AS progress FROM latest
    ), money AS (
        SELECT jsonb_build_object(
            'estimated', e.estimated_nano_usd,
            'held', coalesce(sum(held_nano_usd) FILTER (WHERE charge_state = 'held'), 0),
            'settled', coalesce(sum(settled_nano_usd), 0),
            'saved', coalesce(sum(saved_nano_usd), 0),
            'final', e.ended AND count(*) FILTER (WHERE charge_state = 'held') = 0
        ) AS cost FROM job
    ), event AS (
        -- The first events of an execution leave out its jobs, which all wait.
        SELECT 1 AS rank, position, job_id, 'job' AS type, to_jsonb(job) - 'mark' AS data FROM job
        WHERE before.last_sequence > 0 AND before.jobs ->> job_id IS DISTINCT FROM mark
        UNION ALL
        SELECT 2, 0, '', 'cost', cost FROM money WHERE before.cost IS DISTINCT FROM cost
        UNION ALL
        SELECT 3, 0, '', 'progress', progress FROM summary
        WHERE NOT e.ended AND before.progress - 'progress' IS DISTINCT FROM progress - 'progress'
        UNION ALL
        SELECT 4, 0, '', 'end', jsonb_build_object('status', e.status, 'progress', e.progress, 'error', e.error)
        WHERE e.ended AND before.progress ->> 'status' IS DISTINCT FROM e.status
    ), numbered AS (
        SELECT before.last_sequence + row_number() OVER (ORDER BY rank, position, job_id) AS sequence, type, data
        FROM event
    ), inserted AS (
        INSERT INTO execution_events (execution_id, sequence, user_id, generation, type, data)
        SELECT id, sequence, before.user_id, e.generation, type, data FROM numbered
    )
    UPDATE event_counters AS c
    SET last_sequence = n.last_sequence, cost = money.cost, progress = summary.progress,
        jobs = coalesce((SELECT jsonb_object_agg(job_id, mark) FROM job), '{}')
    FROM (SELECT max(sequence) AS last_sequence FROM numbered) AS n, money, summary
    WHERE c.execution_id = id AND n.last_sequence IS NOT NULL
    RETURNING c.last_sequence INTO last;

    IF last IS NOT NULL THEN
        PERFORM pg_notify('takeone_events', concat_ws(' ', id, before.user_id, last));
    END IF;
    RETURN NULL;
END $$;

-- Deferred to COMMIT, when all changes of the transaction are made, whatever statement made them.
CREATE CONSTRAINT TRIGGER record_new_execution AFTER INSERT ON executions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION record_execution_events();
CREATE CONSTRAINT TRIGGER record_execution
    AFTER UPDATE OF status, generation, estimated_nano_usd ON executions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    WHEN (OLD.status <> NEW.status OR OLD.generation <> NEW.generation
          OR OLD.estimated_nano_usd <> NEW.estimated_nano_usd)
    EXECUTE FUNCTION record_execution_events();
CREATE CONSTRAINT TRIGGER record_new_job AFTER INSERT ON jobs DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION record_execution_events();
CREATE CONSTRAINT TRIGGER record_job
    AFTER UPDATE OF state, send_number, generation, orphan, submitted_at ON jobs DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR OLD.send_number <> NEW.send_number OR OLD.generation <> NEW.generation
          OR OLD.orphan <> NEW.orphan OR (OLD.submitted_at IS NULL) <> (NEW.submitted_at IS NULL))
    EXECUTE FUNCTION record_execution_events();
CREATE CONSTRAINT TRIGGER record_charge
    AFTER INSERT OR UPDATE OF state, held_nano_usd, settled_nano_usd ON charges DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION record_execution_events();

-- Attempts come after the end of an execution; PostgreSQL sends equal notifications of a transaction once.
CREATE FUNCTION notify_webhook() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('takeone_events', concat_ws(' ', NEW.event_id, NEW.user_id));
    RETURN NULL;
END $$;
CREATE TRIGGER notify_webhook AFTER UPDATE OF state ON webhooks
    FOR EACH ROW WHEN (NEW.execution_id IS NOT NULL AND OLD.state <> NEW.state) EXECUTE FUNCTION notify_webhook();
CREATE TRIGGER notify_attempt AFTER UPDATE OF duration_ms ON webhook_attempts
    FOR EACH ROW EXECUTE FUNCTION notify_webhook();
