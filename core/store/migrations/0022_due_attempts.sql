-- By when a pending webhook has its next attempt if a workflow works on it. The reconciler finds
-- overdue ones by the index instead of looking at the attempts of every pending webhook.
-- deferred_until is no longer used.
ALTER TABLE webhooks ADD COLUMN attempt_due_at timestamptz NOT NULL DEFAULT now();
UPDATE webhooks AS w
SET attempt_due_at = greatest(
    (SELECT max(started_at) + interval '36 hours' FROM webhook_attempts AS a
     WHERE a.event_id = w.event_id AND a.delivery = w.delivery),
    deferred_until + interval '10 minutes', w.created_at)
WHERE state = 'pending';
DROP INDEX webhooks_pending;
CREATE INDEX webhooks_attempt_due ON webhooks (attempt_due_at) WHERE state = 'pending';
CREATE INDEX webhooks_pending_since ON webhooks (pending_since) WHERE state = 'pending';
