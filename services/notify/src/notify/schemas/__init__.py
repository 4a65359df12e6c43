"""What sockets carry, in the photo dialect's words."""
