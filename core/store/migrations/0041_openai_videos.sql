-- Orders over /v1/videos, which the OpenAI clients call.

-- Where the execution was ordered, which decides the form of its webhooks. NULL: the routes below /api.
ALTER TABLE executions ADD COLUMN surface text CHECK (surface = 'openai');

-- Orders without an idempotency key, by a hash of the order. A client that lost the answer repeats its
-- request with a higher retry_count, and gets the execution that it ordered before.
-- adopted_by: the retry counts of the requests that were answered with the execution.
CREATE TABLE unkeyed_orders (
    execution_id  text PRIMARY KEY REFERENCES executions,
    user_id       text NOT NULL REFERENCES users,
    fingerprint   bytea NOT NULL,
    retry_count   integer NOT NULL CHECK (retry_count >= 0),
    adopted_by    integer[] NOT NULL DEFAULT '{}',
    response      bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    adopted_at    timestamptz
);
CREATE INDEX ON unkeyed_orders (user_id, fingerprint, created_at);
CREATE INDEX ON unkeyed_orders (created_at);

CALL enable_row_security('unkeyed_orders');
GRANT SELECT, INSERT ON unkeyed_orders TO takeone_app;
GRANT UPDATE (adopted_by, adopted_at) ON unkeyed_orders TO takeone_app;
GRANT SELECT, DELETE ON unkeyed_orders TO takeone_app, takeone_system;

-- Lists of videos in both orders, also for users with many other executions. The order of the ids is that of no
-- other index, so that the planner cannot walk the primary key instead. POSIX sorts like C.
CREATE INDEX executions_videos ON executions (user_id, execution_id COLLATE "POSIX")
    WHERE type = 'generate-video' AND deleted_at IS NULL;
