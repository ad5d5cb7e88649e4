-- A limit of media steps: the processor time of a user in a calendar month (UTC).

-- NULL: the default from the settings.
ALTER TABLE users ADD COLUMN media_seconds_limit bigint CHECK (media_seconds_limit >= 0);

-- Open media jobs count with their usual time when an order is checked against the limit.
CREATE INDEX ON jobs (user_id) WHERE provider = 'media' AND state = 'waiting';
