-- A long pause after a 429 is probed like an open breaker: probe_at is also set without tripped_at.
ALTER TABLE provider_states DROP CONSTRAINT provider_states_check;
ALTER TABLE provider_states ADD CHECK (tripped_at IS NULL OR probe_at IS NOT NULL);
