-- When the current delivery was requested: a delivery that cannot progress is ended by this time.
ALTER TABLE webhooks ADD COLUMN pending_since timestamptz NOT NULL DEFAULT now();
