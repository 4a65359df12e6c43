"""What tests share: the suite every bus must pass. Imported by tests only."""
