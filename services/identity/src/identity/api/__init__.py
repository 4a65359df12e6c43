"""Every route of identity."""

from identity.api import keys, photo, song

ROUTES = (*song.ROUTES, *photo.ROUTES, *keys.ROUTES)
