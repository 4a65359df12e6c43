"""Every route of identity."""

from common.config import CONFIG_ROUTES
from identity.api import admin, internal, invitations, keys, links, photo, revocations, song, v1, wechat

ROUTES = (
    *song.ROUTES,
    *photo.ROUTES,
    *wechat.ROUTES,
    *admin.ROUTES,
    *invitations.ROUTES,
    *internal.ROUTES,
    *links.ROUTES,
    *v1.ROUTES,
    *revocations.ROUTES,
    *keys.ROUTES,
    *CONFIG_ROUTES,
)
