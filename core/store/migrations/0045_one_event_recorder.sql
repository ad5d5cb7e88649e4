-- The triggers of 0040 call one function that records the events.
--
-- PL/pgSQL plans the statements of a trigger function once for each trigger and connection, those of
-- another function once for each connection. Five triggers share this one, whose statement is large.

-- Compare an execution with what its events have shown, insert an event for each difference, and notify
-- the API processes. The counter's row is locked until COMMIT, so numbers have no gaps, and the statements
-- after the lock see what its previous owner committed.
CREATE FUNCTION insert_new_events(id text, of_user text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    before event_counters;
    e record;
    last integer;
BEGIN
    SELECT * INTO before FROM event_counters WHERE execution_id = id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO event_counters (execution_id, user_id) VALUES (id, of_user) ON CONFLICT DO NOTHING;
        SELECT * INTO before FROM event_counters WHERE execution_id = id FOR NO KEY UPDATE;
    END IF;
    SELECT status, generation, progress, error, estimated_nano_usd,
           status IN ('completed', 'failed', 'cancelled') AS ended, deleted_at IS NOT NULL AS deleted
    INTO e FROM executions WHERE execution_id = id;
    IF e.deleted THEN
        RETURN;
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
END $$;

CREATE OR REPLACE FUNCTION record_execution_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Otherwise an earlier trigger of this COMMIT has seen every change of the transaction.
    IF current_setting('takeone.recorded', true) IS DISTINCT FROM NEW.execution_id THEN
        PERFORM set_config('takeone.recorded', NEW.execution_id, true);
        PERFORM insert_new_events(NEW.execution_id, NEW.user_id);
    END IF;
    RETURN NULL;
END $$;
