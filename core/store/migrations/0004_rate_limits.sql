-- Rate limits. A caller is an API key, or the user of a token.

-- Admitted requests, slot by slot. Unlogged: a crash of PostgreSQL resets all limits.
CREATE UNLOGGED TABLE request_rates (
    caller   text NOT NULL,
    class    text NOT NULL CHECK (class IN ('writes', 'reads')),
    slot_ms  bigint NOT NULL CHECK (slot_ms > 0),     -- the length of a slot
    newest   bigint NOT NULL,                         -- the slot of used[1]: milliseconds since 1970 / slot_ms
    used     integer[] NOT NULL,                      -- 61 slots, newest first: a window and the slot that leaves it
    PRIMARY KEY (caller, class, slot_ms)
) WITH (fillfactor = 50);                             -- room for heap-only updates

ALTER TABLE request_rates ENABLE ROW LEVEL SECURITY;
ALTER TABLE request_rates FORCE ROW LEVEL SECURITY;
CREATE POLICY all_rows ON request_rates TO takeone_system USING (true);
GRANT SELECT, INSERT, UPDATE ON request_rates TO takeone_system;

-- Whether one more request of a caller's is admitted; if so, it is counted. As takeone_system. quota_: more than 0.
CREATE FUNCTION count_request(
    caller_ text, class_ text, quota_ integer, slot_ms_ bigint,
    OUT admitted boolean, OUT newest bigint, OUT used integer[], OUT now_ms bigint
) RETURNS record LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    past CONSTANT integer := 60;                      -- slots of a window
    slot bigint;
    gap bigint;
BEGIN
    now_ms := floor(extract(epoch FROM clock_timestamp()) * 1000);
    slot := now_ms / slot_ms_;
    LOOP
        SELECT r.newest, r.used INTO newest, used FROM request_rates AS r
        WHERE r.caller = caller_ AND r.class = class_ AND r.slot_ms = slot_ms_
        FOR UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO request_rates (caller, class, slot_ms, newest, used)
        VALUES (caller_, class_, slot_ms_, slot, array_fill(0, ARRAY[past + 1]))
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
    admitted := (SELECT sum(n) FROM unnest(used) AS n) < quota_;
    IF admitted THEN
        used[1] := used[1] + 1;
        UPDATE request_rates AS r SET newest = count_request.newest, used = count_request.used
        WHERE r.caller = caller_ AND r.class = class_ AND r.slot_ms = slot_ms_;
    END IF;
END $$;
REVOKE EXECUTE ON FUNCTION count_request FROM PUBLIC;
GRANT EXECUTE ON FUNCTION count_request TO takeone_system;

-- Whose key this is, what it may be used for, and whether one more request of it is admitted; if so, it is counted. In
-- the database, and called outside a transaction: the row is locked while PostgreSQL computes, and not while a process
-- is asked to commit.
-- It takes the system role until the end of that statement, which only a login may that could take it by itself: nobody
-- is let in by calling it. No row: nobody has this prefix.
-- used, newest, now_ms: NULL where nothing is limited, or the secret is wrong, or the key may not be used.
CREATE FUNCTION admit_request(
    prefix_ text, sha256_ bytea, class_ text, default_quota integer, slot_ms_ bigint,
    OUT key_id text, OUT user_id text, OUT secret_sha256 bytea, OUT scopes text[], OUT usable boolean,
    OUT touch_due boolean, OUT quota integer, OUT admitted boolean, OUT newest bigint, OUT used integer[],
    OUT now_ms bigint
) RETURNS SETOF record LANGUAGE plpgsql ROWS 1 AS $$
#variable_conflict use_column
BEGIN
    -- Not as an attribute of the function: to make one, its owner would have to be allowed to take the role.
    PERFORM set_config('role', 'takeone_system', true);
    SELECT k.key_id, k.user_id, k.secret_sha256, k.scopes,
           k.revoked_at IS NULL AND u.disabled_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()),
           k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute',
           coalesce(CASE class_ WHEN 'writes' THEN k.rate_writes ELSE k.rate_reads END, default_quota)
    INTO key_id, user_id, secret_sha256, scopes, usable, touch_due, quota
    FROM api_keys AS k JOIN users AS u ON u.user_id = k.user_id
    WHERE k.prefix = prefix_;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    admitted := usable AND secret_sha256 = sha256_;
    IF admitted AND quota <> 0 THEN
        SELECT c.admitted, c.newest, c.used, c.now_ms INTO admitted, newest, used, now_ms
        FROM count_request(admit_request.key_id, class_, admit_request.quota, slot_ms_) AS c;
    END IF;
    RETURN NEXT;
END $$;
REVOKE EXECUTE ON FUNCTION admit_request FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admit_request TO takeone_app;

-- The same for whoever comes with a token of an issuer, whose requests are all counted as the user's.
-- user_id_: whom the token itself names; NULL: whoever is linked to its subject. No row: nobody.
CREATE FUNCTION admit_identity(
    issuer_ text, subject_ text, user_id_ text, class_ text, default_quota integer, slot_ms_ bigint,
    OUT user_id text, OUT usable boolean, OUT quota integer, OUT admitted boolean, OUT newest bigint,
    OUT used integer[], OUT now_ms bigint
) RETURNS SETOF record LANGUAGE plpgsql ROWS 1 AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('role', 'takeone_system', true);
    SELECT u.user_id, u.disabled_at IS NULL, default_quota INTO user_id, usable, quota
    FROM users AS u
    WHERE u.user_id = coalesce(
        user_id_, (SELECT i.user_id FROM identities AS i WHERE i.issuer = issuer_ AND i.subject = subject_)
    );
    IF NOT FOUND THEN
        RETURN;
    END IF;
    admitted := usable;
    IF admitted AND quota <> 0 THEN
        SELECT c.admitted, c.newest, c.used, c.now_ms INTO admitted, newest, used, now_ms
        FROM count_request(admit_identity.user_id, class_, admit_identity.quota, slot_ms_) AS c;
    END IF;
    RETURN NEXT;
END $$;
REVOKE EXECUTE ON FUNCTION admit_identity FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admit_identity TO takeone_app;
