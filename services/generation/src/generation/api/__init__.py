"""Routes: parse, act, render."""

from generation.api import internal, photo, song

ROUTES = (*photo.ROUTES, *song.ROUTES, *internal.ROUTES)
