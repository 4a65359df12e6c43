"""Every SQL statement generation runs, one file per table. Times are parameters: the clock is the database's, kept by the caller."""
