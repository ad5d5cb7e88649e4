-- The latest time at which a send that a recovery rebuilt can have been made; sent_at is then the
-- earliest. NULL: sent_at is exact.
ALTER TABLE sends ADD COLUMN sent_until timestamptz;
