"""Which configuration is trained next, and the ledger of what became of each."""
