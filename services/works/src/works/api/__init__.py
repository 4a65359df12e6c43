"""Every route of works."""

from works.api import files, internal, photo, song

ROUTES = (*photo.ROUTES, *song.ROUTES, *files.ROUTES, *internal.ROUTES)
