-- Usage and filtered lists that read few rows however many executions a user has.

-- What a user's charges of a month add up to, by day and model. The triggers below keep the sums in
-- the transaction of every change; `ledger check` compares them with the charges.
CREATE TABLE usage_money (
    user_id           text NOT NULL REFERENCES users,
    budget_month      date NOT NULL,
    day               date NOT NULL,
    provider          text NOT NULL,
    model             text NOT NULL,
    jobs              bigint NOT NULL,
    held_nano_usd     bigint NOT NULL,
    settled_nano_usd  bigint NOT NULL,
    PRIMARY KEY (user_id, budget_month, day, provider, model)
) WITH (fillfactor = 50);                             -- space for heap-only updates

-- The same for videos, by the day on which they were last queued.
CREATE TABLE usage_videos (
    user_id         text NOT NULL REFERENCES users,
    budget_month    date NOT NULL,
    day             date NOT NULL,
    held_videos     bigint NOT NULL,
    settled_videos  bigint NOT NULL,
    PRIMARY KEY (user_id, budget_month, day)
) WITH (fillfactor = 50);

CALL enable_row_security('usage_money');
CALL enable_row_security('usage_videos');
GRANT SELECT, INSERT, UPDATE ON usage_money, usage_videos TO takeone_app, takeone_system;
GRANT DELETE ON usage_money, usage_videos TO takeone_system;

-- The day (UTC) on which something counts in its month. What is later than the month counts on the
-- month's last day.
CREATE FUNCTION usage_day(at_ timestamptz, month_ date) RETURNS date LANGUAGE sql STABLE AS $$
    SELECT least((at_ AT TIME ZONE 'UTC')::date, (month_ + interval '1 month - 1 day')::date)
$$;

-- Subtract the old row of a charge and add the new one; either may be missing.
CREATE FUNCTION count_charge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_money AS u
        (user_id, budget_month, day, provider, model, jobs, held_nano_usd, settled_nano_usd)
    SELECT c.user_id, c.budget_month, usage_day(c.created_at, c.budget_month), c.provider, c.model, sum(c.sign),
           coalesce(sum(c.sign * c.held_nano_usd) FILTER (WHERE c.state = 'held'), 0), sum(c.sign * c.settled_nano_usd)
    FROM (SELECT OLD.user_id, OLD.budget_month, OLD.created_at, OLD.provider, OLD.model, OLD.state,
                 OLD.held_nano_usd, OLD.settled_nano_usd, -1 AS sign
          UNION ALL
          SELECT NEW.user_id, NEW.budget_month, NEW.created_at, NEW.provider, NEW.model, NEW.state,
                 NEW.held_nano_usd, NEW.settled_nano_usd, 1) AS c
    WHERE c.user_id IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5
    ON CONFLICT (user_id, budget_month, day, provider, model) DO UPDATE
    SET jobs = u.jobs + excluded.jobs, held_nano_usd = u.held_nano_usd + excluded.held_nano_usd,
        settled_nano_usd = u.settled_nano_usd + excluded.settled_nano_usd;
    RETURN NULL;
END $$;

CREATE FUNCTION count_execution() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_videos AS u (user_id, budget_month, day, held_videos, settled_videos)
    SELECT e.user_id, e.budget_month, usage_day(e.queued_at, e.budget_month),
           coalesce(sum(e.sign) FILTER (WHERE e.status IN ('queued', 'running')), 0),
           coalesce(sum(e.sign) FILTER (WHERE e.status = 'completed'), 0)
    FROM (SELECT OLD.user_id, OLD.budget_month, OLD.queued_at, OLD.status, -1 AS sign
          UNION ALL
          SELECT NEW.user_id, NEW.budget_month, NEW.queued_at, NEW.status, 1) AS e
    WHERE e.user_id IS NOT NULL AND e.budget_month IS NOT NULL
    GROUP BY 1, 2, 3
    ON CONFLICT (user_id, budget_month, day) DO UPDATE
    SET held_videos = u.held_videos + excluded.held_videos,
        settled_videos = u.settled_videos + excluded.settled_videos;
    RETURN NULL;
END $$;

-- Deferred to COMMIT: the sums are locked last and briefly. Every transaction that moves money or
-- ends an execution holds the user's row of budgets by then, so no two wait for each other's sums.
CREATE CONSTRAINT TRIGGER count_charge
    AFTER INSERT OR DELETE
       OR UPDATE OF user_id, budget_month, created_at, provider, model, state, held_nano_usd, settled_nano_usd
    ON charges DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION count_charge();
CREATE CONSTRAINT TRIGGER count_new_execution
    AFTER INSERT OR DELETE ON executions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION count_execution();
CREATE CONSTRAINT TRIGGER count_execution
    AFTER UPDATE OF status, queued_at, budget_month ON executions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    WHEN (OLD.queued_at <> NEW.queued_at OR OLD.budget_month IS DISTINCT FROM NEW.budget_month
          OR OLD.status IN ('queued', 'running') <> (NEW.status IN ('queued', 'running'))
          OR (OLD.status = 'completed') <> (NEW.status = 'completed'))
    EXECUTE FUNCTION count_execution();

-- By which names and values of its metadata an execution is found: a hash of the JSON array [name],
-- and one of [name, value as text]. A hash, because a value can be longer than an index entry.
CREATE TABLE metadata_terms (
    user_id       text NOT NULL REFERENCES users,
    term          uuid NOT NULL,
    execution_id  text NOT NULL REFERENCES executions ON DELETE CASCADE,
    PRIMARY KEY (user_id, term, execution_id)
);
CALL enable_row_security('metadata_terms');
GRANT SELECT, INSERT, DELETE ON metadata_terms TO takeone_app, takeone_system;

CREATE FUNCTION metadata_term(name text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT md5(jsonb_build_array(name)::text)::uuid
$$;
CREATE FUNCTION metadata_term(name text, value text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT md5(jsonb_build_array(name, value)::text)::uuid
$$;
CREATE FUNCTION list_metadata_terms(metadata jsonb) RETURNS SETOF uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT metadata_term(key) FROM jsonb_each_text(metadata)
    UNION
    SELECT metadata_term(key, value) FROM jsonb_each_text(metadata) WHERE value IS NOT NULL
$$;

CREATE FUNCTION index_metadata() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM metadata_terms
        WHERE user_id = OLD.user_id AND execution_id = OLD.execution_id
          AND term IN (SELECT list_metadata_terms(OLD.metadata));
    END IF;
    INSERT INTO metadata_terms (user_id, term, execution_id)
    SELECT NEW.user_id, term, NEW.execution_id FROM list_metadata_terms(NEW.metadata) AS t (term);
    RETURN NULL;
END $$;
CREATE TRIGGER index_new_metadata AFTER INSERT ON executions
    FOR EACH ROW WHEN (NEW.metadata <> '{}') EXECUTE FUNCTION index_metadata();
CREATE TRIGGER index_metadata AFTER UPDATE OF metadata ON executions
    FOR EACH ROW WHEN (OLD.metadata <> NEW.metadata) EXECUTE FUNCTION index_metadata();

CREATE INDEX executions_by_status ON executions (user_id, status, execution_id DESC);

-- The existing rows. Without FORCE, the policies do not apply to the owner.
ALTER TABLE charges NO FORCE ROW LEVEL SECURITY;
ALTER TABLE executions NO FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_money NO FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_videos NO FORCE ROW LEVEL SECURITY;
ALTER TABLE metadata_terms NO FORCE ROW LEVEL SECURITY;
INSERT INTO usage_money
SELECT user_id, budget_month, usage_day(created_at, budget_month), provider, model, count(*),
       coalesce(sum(held_nano_usd) FILTER (WHERE state = 'held'), 0), sum(settled_nano_usd)
FROM charges GROUP BY 1, 2, 3, 4, 5;
INSERT INTO usage_videos
SELECT user_id, budget_month, usage_day(queued_at, budget_month),
       count(*) FILTER (WHERE status IN ('queued', 'running')), count(*) FILTER (WHERE status = 'completed')
FROM executions WHERE budget_month IS NOT NULL GROUP BY 1, 2, 3;
INSERT INTO metadata_terms
SELECT e.user_id, t.term, e.execution_id FROM executions AS e, list_metadata_terms(e.metadata) AS t (term);
ALTER TABLE charges FORCE ROW LEVEL SECURITY;
ALTER TABLE executions FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_money FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_videos FORCE ROW LEVEL SECURITY;
ALTER TABLE metadata_terms FORCE ROW LEVEL SECURITY;
