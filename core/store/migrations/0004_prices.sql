-- What a job was quoted by: the entry of the price book at its hold. The job is settled by it, whatever the price book
-- says by then; a retry that buys again has a charge, and so a price, of its own.
-- The default is for charges from before; nothing inserts a charge without a price.
ALTER TABLE charges ADD COLUMN price jsonb NOT NULL DEFAULT '{}';
ALTER TABLE charges ALTER COLUMN price DROP DEFAULT;

-- Written once, with the hold.
CREATE FUNCTION refuse_new_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the price of % was written when it was held, and stays', OLD.charge_id;
END $$;
CREATE TRIGGER charges_price_stays BEFORE UPDATE OF price ON charges
    FOR EACH ROW EXECUTE FUNCTION refuse_new_price();
