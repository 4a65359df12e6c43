"""Every route of works."""

from common.config import CONFIG_ROUTES
from works.api import curate, files, internal, photo, photo_uploads, song, v1_marks, v1_uploads

ROUTES = (
    *curate.ROUTES,
    *v1_marks.ROUTES,
    *photo.ROUTES,
    *photo_uploads.ROUTES,
    *song.ROUTES,
    *v1_uploads.ROUTES,
    *files.ROUTES,
    *internal.ROUTES,
    *CONFIG_ROUTES,
)
