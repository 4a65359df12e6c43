"""Keeps the books: accounts, ledger, holds."""
