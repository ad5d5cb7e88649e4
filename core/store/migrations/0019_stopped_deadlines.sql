-- The deadline of a running execution stands still while a job of it waits for its provider's slot.
ALTER TABLE executions
    ADD COLUMN waiting_since timestamptz,                   -- NULL: no job waits for a slot
    ADD COLUMN waited interval NOT NULL DEFAULT '0';        -- by how much the deadline was moved
