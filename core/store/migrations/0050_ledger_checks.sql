-- The last result of each check of the ledger: a command runs them, and the reconciler exports them.
CREATE TABLE ledger_checks (
    name                 text PRIMARY KEY,               -- 'ledger', 'bill/NAME' or 'bill/all'
    checked_at           timestamptz NOT NULL DEFAULT now(),
    findings             bigint NOT NULL CHECK (findings >= 0),
    difference_nano_usd  bigint                          -- of a bill: billed less settled
);

ALTER TABLE ledger_checks ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger_checks FORCE ROW LEVEL SECURITY;
CREATE POLICY all_rows ON ledger_checks TO takeone_system USING (true);
GRANT SELECT, INSERT, UPDATE ON ledger_checks TO takeone_system;
