-- Finding what is older than its retention, oldest first, without reading what is kept.
CREATE INDEX executions_by_end ON executions (ended_at) WHERE ended_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX sends_with_body ON sends (sent_at) WHERE request <> '{}';
CREATE INDEX callbacks_by_time ON callbacks (received_at);
CREATE INDEX webhooks_by_end ON webhooks (ended_at) WHERE ended_at IS NOT NULL AND execution_id IS NOT NULL;
CREATE INDEX webhook_attempts_by_time ON webhook_attempts (started_at);
CREATE INDEX assets_by_time ON assets (created_at);
GRANT DELETE ON callbacks TO takeone_system;
