"""What all services share and none of them is about."""
