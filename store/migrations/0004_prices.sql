-- What a job was quoted by: the entry of the price book at its hold. The job is settled by it, whatever the price book
-- says by then; a retry that buys again has a charge, and so a price, of its own. Written once, with the hold.
-- The default is for charges from before; nothing inserts a charge without a price.
ALTER TABLE charges ADD COLUMN price jsonb NOT NULL DEFAULT '{}';
ALTER TABLE charges ALTER COLUMN price DROP DEFAULT;
