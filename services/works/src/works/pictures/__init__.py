"""Uploaded pictures: received, checked, decoded in a process of their own, stripped, encoded again."""
