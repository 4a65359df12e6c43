"""Says who you are: people, credentials, signing keys."""
