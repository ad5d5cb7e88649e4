-- Refunds: what a provider has billed and given back.

ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_kind_check;
--   held balance    = held - settled - released
--   settled balance = settled + overage + adjustment + orphan - refund
ALTER TABLE ledger_entries ADD CONSTRAINT ledger_entries_kind_check
    CHECK (kind IN ('held', 'settled', 'released', 'overage', 'adjustment', 'orphan', 'refund'));

-- settled_nano_usd is what a job has cost in the end: what was billed, less this.
ALTER TABLE charges ADD COLUMN refunded_nano_usd bigint NOT NULL DEFAULT 0 CHECK (refunded_nano_usd >= 0);
