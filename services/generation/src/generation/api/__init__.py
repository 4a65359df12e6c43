"""Routes: parse, act, render."""

from common.config import CONFIG_ROUTES
from generation.api import admin, internal, photo, song

ROUTES = (*admin.ROUTES, *photo.ROUTES, *song.ROUTES, *internal.ROUTES, *CONFIG_ROUTES)
