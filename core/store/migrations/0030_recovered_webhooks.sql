-- The generation whose webhook a receiver had accepted before the database was restored from an
-- older backup. Its end stores the event as delivered.
ALTER TABLE executions ADD COLUMN delivered_generation integer;
