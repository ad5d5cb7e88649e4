"""Reports on money: the ledger check, provider bills, usage, undelivered spending."""
