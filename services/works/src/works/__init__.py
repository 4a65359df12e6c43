"""Keeps what people own: uploaded files and works."""
