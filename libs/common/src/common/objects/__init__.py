"""The object store and signed links to what is in it. Nothing outside this folder knows which store it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

from common.objects.folder import FolderObjects
from common.objects.keys import check_key, content_type_of, former_thumbnail_key, is_key, sha256_of, source_of_thumbnail, thumbnail_key
from common.objects.links import OTHERS_LINK_SECONDS, OWNER_LINK_SECONDS, UrlSigner
from common.objects.s3 import S3Objects, S3Place
from common.objects.store import CHUNK_BYTES, ObjectInfo, ObjectStore, Shown, WriteLink
from common.settings import SettingsError, SharedSettings

__all__ = [
    "CHUNK_BYTES", "OTHERS_LINK_SECONDS", "OWNER_LINK_SECONDS", "FolderObjects", "ObjectInfo", "ObjectStore", "S3Objects", "S3Place", "Shown",
    "UrlSigner", "WriteLink", "check_key", "content_type_of", "former_thumbnail_key", "is_key", "open_objects", "open_store", "opened_objects",
    "sha256_of", "source_of_thumbnail", "thumbnail_key",
]  # fmt: skip


def open_objects(shared: SharedSettings) -> ObjectStore:
    """The store that DARKROOM_OBJECTS_URL names; raises SettingsError for one that cannot be used."""
    return open_store(shared.objects_url, shared.objects_access_key, shared.objects_secret_key.get_secret_value())


@asynccontextmanager
async def opened_objects(shared: SharedSettings) -> AsyncIterator[ObjectStore]:
    """The same, closed at the end."""
    objects = open_objects(shared)
    try:
        yield objects
    finally:
        await objects.close()


def open_store(url: str, access_key: str = "", secret_key: str = "") -> ObjectStore:
    """The store at a URL: `file:///folder` or `s3://bucket?endpoint=http://...&region=...`; raises SettingsError."""
    scheme, _, rest = url.partition("://")
    if scheme == "file" and rest.startswith("/"):
        return FolderObjects(Path(unquote(rest)))
    if scheme == "s3":
        return S3Objects(S3Place.of(url, access_key, secret_key))
    raise SettingsError([f"DARKROOM_OBJECTS_URL: {scheme}:// is not known, use file:///<folder> or s3://<bucket>"])
