"""Reports on money: the ledger check, a provider bill, usage, and undelivered spending. Reads only."""
