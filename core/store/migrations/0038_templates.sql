-- Templates: plans that users store to run them with values. A template never changes.

-- plan: as it was sent, so that the order of its fields is kept. *_nano_usd: what a run may cost, as
-- priced when the template was created. price_variables: those that change it.
CREATE TABLE templates (
    template_id        text PRIMARY KEY,
    user_id            text NOT NULL REFERENCES users,
    name               text NOT NULL,
    plan               json NOT NULL,
    low_nano_usd       bigint NOT NULL,
    expected_nano_usd  bigint NOT NULL,
    worst_nano_usd     bigint NOT NULL,
    price_variables    text[] NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON templates (user_id, template_id DESC);

CALL enable_row_security('templates');
GRANT SELECT, INSERT, DELETE ON templates TO takeone_app;
