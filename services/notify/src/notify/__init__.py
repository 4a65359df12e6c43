"""Tells people: every user's feed and sockets."""
