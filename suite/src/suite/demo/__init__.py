"""The demo: a person with a photo, seen from outside, who checks what she gets."""
