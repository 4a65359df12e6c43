"""What billing answers."""

from billing.api import internal, photo, song

ROUTES = (*photo.ROUTES, *song.ROUTES, *internal.ROUTES)
