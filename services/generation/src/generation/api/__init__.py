"""Routes: parse, act, render."""

from common.config import CONFIG_ROUTES
from generation.api import admin, callback, internal, photo, song

ROUTES = (*admin.ROUTES, *callback.ROUTES, *photo.ROUTES, *song.ROUTES, *internal.ROUTES, *CONFIG_ROUTES)
