-- Requests: the end of an idempotency key's life.

-- A key that is used again after its 30 days takes its old row over.
GRANT UPDATE (request_sha256, answer, created_at) ON idempotency_keys TO takeone_app;
-- The oldest first, for the sweep.
CREATE INDEX ON idempotency_keys (created_at);
