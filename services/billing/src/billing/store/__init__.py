"""Every SQL statement billing runs, by what it is about."""
