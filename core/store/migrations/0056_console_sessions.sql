-- Sessions of the web console: API keys that live for hours and act as the credential that made them.

-- A session counts as the key in made_by: for its rate limits, its spend limit and its revocation.
-- made_by of a session that a token has made is the token's subject; such a session stands alone.
ALTER TABLE api_keys ADD COLUMN is_session boolean NOT NULL DEFAULT false;
GRANT SELECT (is_session) ON api_keys TO takeone_app;
-- Only sessions are ever deleted, when they have expired.
GRANT DELETE ON api_keys TO takeone_system;
CREATE POLICY only_sessions ON api_keys AS RESTRICTIVE FOR DELETE TO takeone_system USING (is_session);

-- A ticket opens one session without an API key, once: the link that `make demo` prints.
CREATE TABLE console_tickets (
    ticket_sha256  bytea PRIMARY KEY,
    user_id        text NOT NULL REFERENCES users,
    made_by        text NOT NULL,
    scopes         text[] NOT NULL,
    expires_at     timestamptz NOT NULL
);
CREATE INDEX ON console_tickets (user_id, expires_at);
CALL enable_row_security('console_tickets');
GRANT SELECT, INSERT, DELETE ON console_tickets TO takeone_app, takeone_system;

-- As in 0004, and for a session: what is counted and returned is the key that made it.
CREATE OR REPLACE FUNCTION admit_request(
    prefix_ text, sha256_ bytea, class_ text, default_limit integer, user_factor integer, window_ interval,
    OUT key_id text, OUT user_id text, OUT secret_sha256 bytea, OUT scopes text[], OUT usable boolean,
    OUT touch_due boolean, OUT quota bigint, OUT admitted boolean, OUT remaining bigint,
    OUT next_seconds bigint, OUT of_user boolean
) RETURNS SETOF record LANGUAGE plpgsql ROWS 1 AS $$
#variable_conflict use_column
BEGIN
    -- Not an attribute of the function: its owner would have to be a member of the role.
    PERFORM set_config('role', 'takeone_system', true);
    SELECT m.key_id, k.user_id, k.secret_sha256, k.scopes,
           k.revoked_at IS NULL AND u.disabled_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
               AND m.revoked_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > now()),
           m.last_used_at IS NULL OR m.last_used_at < now() - interval '1 minute',
           coalesce(CASE class_ WHEN 'writes' THEN m.rate_writes ELSE m.rate_reads END, default_limit)
    INTO key_id, user_id, secret_sha256, scopes, usable, touch_due, quota
    FROM api_keys AS k JOIN users AS u ON u.user_id = k.user_id
    -- The key itself, or the key that made the session.
    JOIN api_keys AS m ON m.user_id = k.user_id AND m.key_id = CASE
        WHEN k.is_session AND EXISTS (SELECT FROM api_keys AS o WHERE o.key_id = k.made_by AND o.user_id = k.user_id)
        THEN k.made_by ELSE k.key_id END
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
