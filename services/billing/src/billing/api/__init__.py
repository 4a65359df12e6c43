"""What billing answers."""

from billing.api import admin, internal, orders, photo, sandbox, song

ROUTES = (*photo.ROUTES, *orders.ROUTES, *song.ROUTES, *internal.ROUTES, *admin.ROUTES, *sandbox.ROUTES)
