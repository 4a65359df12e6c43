"""What HTTP carries in and out of identity."""
