-- Rate limits by GCRA, the generic cell rate algorithm. Each request moves its subject's arrival
-- time forward by window / limit. A request is admitted while the arrival time stays within one
-- window from now, so an idle subject may send its whole limit at once.

-- subject: an API key, the tokens of a user (usr_…/tokens), or a user (all keys and tokens
-- together). Unlogged: a crash of PostgreSQL resets all limits.
CREATE UNLOGGED TABLE rate_limits (
    subject     text NOT NULL,
    class       text NOT NULL CHECK (class IN ('writes', 'reads')),
    arrival_at  timestamptz NOT NULL,
    PRIMARY KEY (subject, class)
) WITH (fillfactor = 50);                             -- space for heap-only updates

ALTER TABLE rate_limits ENABLE ROW LEVEL SECURITY;
ALTER TABLE rate_limits FORCE ROW LEVEL SECURITY;
CREATE POLICY all_rows ON rate_limits TO takeone_system USING (true);
GRANT SELECT, INSERT, UPDATE ON rate_limits TO takeone_system;

-- The time that one request takes of the window: rounded down to a microsecond, so that a whole
-- limit always fits into one window.
CREATE FUNCTION rate_step(window_ interval, limit_ bigint) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
    SELECT make_interval(secs => greatest(floor(extract(epoch FROM window_) * 1000000 / limit_), 1) / 1000000)
$$;

-- Count one request of one subject if it is admitted. As takeone_system.
-- The clock is read after the row is locked; otherwise requests at the same time could overtake it.
CREATE FUNCTION take_from_rate(
    subject_ text, class_ text, limit_ bigint, window_ interval,
    OUT admitted boolean, OUT remaining bigint, OUT next_seconds bigint
) RETURNS record LANGUAGE plpgsql AS $$
DECLARE
    step CONSTANT interval := rate_step(window_, limit_);
    arrival timestamptz;
    unused interval;
BEGIN
    INSERT INTO rate_limits AS r (subject, class, arrival_at) VALUES (subject_, class_, clock_timestamp() + step)
    ON CONFLICT (subject, class) DO UPDATE
    SET arrival_at = step + CASE
        -- Left by a longer window, or by a clock that was ahead: start again.
        WHEN r.arrival_at > clock_timestamp() + 2 * window_ THEN clock_timestamp()
        ELSE greatest(r.arrival_at, clock_timestamp())
    END
    WHERE r.arrival_at + step <= clock_timestamp() + window_ OR r.arrival_at > clock_timestamp() + 2 * window_
    RETURNING r.arrival_at INTO arrival;
    admitted := FOUND;
    IF NOT admitted THEN
        SELECT r.arrival_at INTO arrival FROM rate_limits AS r WHERE r.subject = subject_ AND r.class = class_;
    END IF;
    unused := clock_timestamp() + window_ - arrival;
    remaining := greatest(floor(extract(epoch FROM unused) / extract(epoch FROM step)), 0);
    next_seconds := greatest(ceil(extract(epoch FROM (remaining + 1) * step - unused)), 1);
END $$;

-- Count one request of a caller and of its user, or of neither. of_user: the user's limit is the
-- one with less left, and remaining and next_seconds are about it. As takeone_system.
CREATE FUNCTION count_request(
    caller_ text, user_id_ text, class_ text, limit_ bigint, user_factor bigint, window_ interval,
    OUT admitted boolean, OUT remaining bigint, OUT next_seconds bigint, OUT of_user boolean
) RETURNS record LANGUAGE plpgsql AS $$
DECLARE
    of_caller record;
    of_all record;
BEGIN
    SELECT * INTO of_caller FROM take_from_rate(caller_, class_, limit_, window_);
    admitted := of_caller.admitted;
    of_user := false;
    remaining := of_caller.remaining;
    next_seconds := of_caller.next_seconds;
    IF NOT admitted THEN
        RETURN;
    END IF;
    SELECT * INTO of_all FROM take_from_rate(user_id_, class_, limit_ * user_factor, window_);
    IF NOT of_all.admitted THEN
        UPDATE rate_limits SET arrival_at = arrival_at - rate_step(window_, limit_)
        WHERE subject = caller_ AND class = class_;
    END IF;
    IF NOT of_all.admitted OR of_all.remaining < remaining THEN
        admitted := of_all.admitted;
        of_user := true;
        remaining := of_all.remaining;
        next_seconds := of_all.next_seconds;
    END IF;
END $$;

-- Look an API key up and count one request of it. No row: no key has this prefix.
--
-- Called outside a transaction, so that requests of one key do not wait for each other's COMMIT.
-- The function takes the system role until its statement ends, which succeeds only for a login
-- that could take this role itself. Nothing is counted if the secret is wrong or the key cannot be
-- used; remaining is NULL then, and where there is no limit.
CREATE FUNCTION admit_request(
    prefix_ text, sha256_ bytea, class_ text, default_limit integer, user_factor integer, window_ interval,
    OUT key_id text, OUT user_id text, OUT secret_sha256 bytea, OUT scopes text[], OUT usable boolean,
    OUT touch_due boolean, OUT quota bigint, OUT admitted boolean, OUT remaining bigint,
    OUT next_seconds bigint, OUT of_user boolean
) RETURNS SETOF record LANGUAGE plpgsql ROWS 1 AS $$
#variable_conflict use_column
BEGIN
    -- Not an attribute of the function: its owner would have to be a member of the role.
    PERFORM set_config('role', 'takeone_system', true);
    SELECT k.key_id, k.user_id, k.secret_sha256, k.scopes,
           k.revoked_at IS NULL AND u.disabled_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()),
           k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute',
           coalesce(CASE class_ WHEN 'writes' THEN k.rate_writes ELSE k.rate_reads END, default_limit)
    INTO key_id, user_id, secret_sha256, scopes, usable, touch_due, quota
    FROM api_keys AS k JOIN users AS u ON u.user_id = k.user_id
    WHERE k.prefix = prefix_;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    admitted := usable AND secret_sha256 = sha256_;
    IF admitted AND quota <> 0 THEN
        SELECT c.admitted, c.remaining, c.next_seconds, c.of_user INTO admitted, remaining, next_seconds, of_user
        FROM count_request(admit_request.key_id, admit_request.user_id, class_, quota, user_factor, window_) AS c;
    END IF;
    RETURN NEXT;
END $$;

-- The same for a verified token: its requests count for all tokens of its user together.
-- user_id_: the user that the token names; NULL: the user that is linked to the subject.
-- No row: the token authenticates no user.
CREATE FUNCTION admit_identity(
    issuer_ text, subject_ text, user_id_ text, class_ text, default_limit integer, user_factor integer,
    window_ interval,
    OUT user_id text, OUT usable boolean, OUT quota bigint, OUT admitted boolean, OUT remaining bigint,
    OUT next_seconds bigint, OUT of_user boolean
) RETURNS SETOF record LANGUAGE plpgsql ROWS 1 AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('role', 'takeone_system', true);
    SELECT u.user_id, u.disabled_at IS NULL, default_limit INTO user_id, usable, quota
    FROM users AS u
    WHERE u.user_id = coalesce(
        user_id_, (SELECT i.user_id FROM identities AS i WHERE i.issuer = issuer_ AND i.subject = subject_)
    );
    IF NOT FOUND THEN
        RETURN;
    END IF;
    admitted := usable;
    IF admitted AND quota <> 0 THEN
        SELECT c.admitted, c.remaining, c.next_seconds, c.of_user INTO admitted, remaining, next_seconds, of_user
        FROM count_request(
            admit_identity.user_id || '/tokens', admit_identity.user_id, class_, quota, user_factor, window_
        ) AS c;
    END IF;
    RETURN NEXT;
END $$;

REVOKE EXECUTE ON FUNCTION rate_step, take_from_rate, count_request, admit_request, admit_identity FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rate_step, take_from_rate, count_request TO takeone_system;
GRANT EXECUTE ON FUNCTION admit_request, admit_identity TO takeone_app;
