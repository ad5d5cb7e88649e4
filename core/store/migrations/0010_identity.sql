-- Who asks: what an API key may be used for, and users who come with a token of somebody else's.

-- A key from before could be used for everything; one that names nothing gets what an application needs.
ALTER TABLE api_keys
    ADD COLUMN scopes text[] NOT NULL DEFAULT '{read,generate,admin}'
        CHECK (scopes <@ '{read,generate,admin}' AND cardinality(scopes) > 0),
    ADD COLUMN made_by text;                          -- what it was made with: a key, a token's subject; NULL: by hand
ALTER TABLE api_keys ALTER COLUMN scopes SET DEFAULT '{read,generate}';

-- A user's own keys: seen without what they are checked by; ended, and never otherwise changed.
CREATE POLICY own_rows ON api_keys TO takeone_app USING (user_id = current_setting('takeone.user_id', true));
GRANT SELECT (key_id, user_id, name, prefix, scopes, rate_writes, rate_reads, made_by,
              created_at, expires_at, revoked_at, last_used_at),
      INSERT,
      UPDATE (revoked_at)
    ON api_keys TO takeone_app;

-- Whom a token of an issuer speaks for.
CREATE TABLE identities (
    issuer     text NOT NULL,
    subject    text NOT NULL,
    user_id    text NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX ON identities (user_id);
ALTER TABLE identities ENABLE ROW LEVEL SECURITY;
ALTER TABLE identities FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON identities TO takeone_app USING (user_id = current_setting('takeone.user_id', true));
CREATE POLICY all_rows ON identities TO takeone_system USING (true);
GRANT SELECT ON identities TO takeone_app;
GRANT SELECT, INSERT, DELETE ON identities TO takeone_system;

-- Requests are counted by key, and those that come with a token by user.
ALTER TABLE request_rates DROP CONSTRAINT request_rates_key_id_fkey;
ALTER TABLE request_rates RENAME COLUMN key_id TO caller;

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
DROP FUNCTION admit_request(text, bytea, text, integer, bigint);
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
