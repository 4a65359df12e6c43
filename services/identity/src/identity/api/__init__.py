"""Every route of identity."""

from common.config import CONFIG_ROUTES
from identity.api import admin, internal, invitations, keys, photo, revocations, song, wechat

ROUTES = (
    *song.ROUTES,
    *photo.ROUTES,
    *wechat.ROUTES,
    *admin.ROUTES,
    *invitations.ROUTES,
    *internal.ROUTES,
    *revocations.ROUTES,
    *keys.ROUTES,
    *CONFIG_ROUTES,
)
