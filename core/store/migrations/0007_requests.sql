-- Requests: the end of an idempotency key's life, and how many of an API key's requests are admitted.

-- A key that is used again after its 30 days takes its old row over.
GRANT UPDATE (request_sha256, answer, created_at) ON idempotency_keys TO takeone_app;
-- The oldest first, for the sweep.
CREATE INDEX ON idempotency_keys (created_at);

-- A key's own limits. NULL: the settings'; 0: none.
ALTER TABLE api_keys
    ADD COLUMN rate_writes integer CHECK (rate_writes >= 0),
    ADD COLUMN rate_reads integer CHECK (rate_reads >= 0);

-- What was admitted lately, slot by slot. Unlogged: it costs no disk, and a crash of PostgreSQL forgives everybody.
CREATE UNLOGGED TABLE request_rates (
    key_id   text NOT NULL REFERENCES api_keys,
    class    text NOT NULL CHECK (class IN ('writes', 'reads')),
    slot_ms  bigint NOT NULL CHECK (slot_ms > 0),     -- its length; another window begins anew
    newest   bigint NOT NULL,                         -- the slot of used[1]: milliseconds since 1970 / slot_ms
    used     integer[] NOT NULL,                      -- 61 slots, the newest first: a window and the slot that leaves it
    PRIMARY KEY (key_id, class, slot_ms)
) WITH (fillfactor = 50);                             -- the next version of a row fits beside it

ALTER TABLE request_rates ENABLE ROW LEVEL SECURITY;
ALTER TABLE request_rates FORCE ROW LEVEL SECURITY;
CREATE POLICY all_rows ON request_rates TO takeone_system USING (true);
GRANT SELECT, INSERT, UPDATE ON request_rates TO takeone_system;

-- Whose key this is, and whether one more request of it is admitted; if so, it is counted. In the database, and called
-- outside a transaction: the row is locked while PostgreSQL computes, and not while a process is asked to commit.
-- It takes the system role until the end of that statement, which only a login may that could take it by itself: nobody
-- is let in by calling it. No row: nobody has this prefix.
-- used, newest, now_ms: NULL where nothing is limited, or the secret is wrong, or the key may not be used.
CREATE FUNCTION admit_request(
    prefix_ text, sha256_ bytea, class_ text, default_quota integer, slot_ms_ bigint,
    OUT key_id text, OUT user_id text, OUT secret_sha256 bytea, OUT usable boolean, OUT touch_due boolean,
    OUT quota integer, OUT admitted boolean, OUT newest bigint, OUT used integer[], OUT now_ms bigint
) RETURNS SETOF record LANGUAGE plpgsql ROWS 1 AS $$
#variable_conflict use_column
DECLARE
    past CONSTANT integer := 60;                      -- slots of a window
    slot bigint;
    gap bigint;
BEGIN
    -- Not as an attribute of the function: to make one, its owner would have to be allowed to take the role.
    PERFORM set_config('role', 'takeone_system', true);
    SELECT k.key_id, k.user_id, k.secret_sha256,
           k.revoked_at IS NULL AND u.disabled_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()),
           k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute',
           coalesce(CASE class_ WHEN 'writes' THEN k.rate_writes ELSE k.rate_reads END, default_quota)
    INTO key_id, user_id, secret_sha256, usable, touch_due, quota
    FROM api_keys AS k JOIN users AS u ON u.user_id = k.user_id
    WHERE k.prefix = prefix_;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    admitted := usable AND secret_sha256 = sha256_;
    IF quota = 0 OR NOT admitted THEN
        RETURN NEXT;
        RETURN;
    END IF;

    now_ms := floor(extract(epoch FROM clock_timestamp()) * 1000);
    slot := now_ms / slot_ms_;
    LOOP
        SELECT r.newest, r.used INTO newest, used FROM request_rates AS r
        WHERE r.key_id = admit_request.key_id AND r.class = class_ AND r.slot_ms = slot_ms_
        FOR UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO request_rates (key_id, class, slot_ms, newest, used)
        VALUES (admit_request.key_id, class_, slot_ms_, slot, array_fill(0, ARRAY[past + 1]))
        ON CONFLICT DO NOTHING;
    END LOOP;
    gap := slot - newest;
    IF abs(gap) > past THEN                           -- idle for a window, or the clock was far ahead
        used := array_fill(0, ARRAY[past + 1]);
        newest := slot;
    ELSIF gap > 0 THEN
        used := array_fill(0, ARRAY[gap::integer]) || used[1:past + 1 - gap];
        newest := slot;
    END IF;
    admitted := (SELECT sum(n) FROM unnest(used) AS n) < quota;
    IF admitted THEN
        used[1] := used[1] + 1;
        UPDATE request_rates AS r SET newest = admit_request.newest, used = admit_request.used
        WHERE r.key_id = admit_request.key_id AND r.class = class_ AND r.slot_ms = slot_ms_;
    END IF;
    RETURN NEXT;
END $$;
REVOKE EXECUTE ON FUNCTION admit_request FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admit_request TO takeone_app;
