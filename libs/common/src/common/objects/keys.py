"""Names of objects: what may be one, and what it says of its bytes."""

import mimetypes
import os
import re
from collections.abc import Mapping
from uuid import UUID

_KEY_LENGTH_MAX = 512
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_SMALL = "thumb-"
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")
_MARKS = ("-jpg", "-jpeg", "-png")
_NAMED_BY_CONTENT = re.compile(r"(?:^|/)(?:[0-9]+-|cover-)?([0-9a-f]{64})\.[a-z0-9]+$")
_TYPES: Mapping[str, str] = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".mp3": "audio/mpeg", ".ogg": "audio/ogg",
    ".opus": "audio/ogg", ".flac": "audio/flac", ".wav": "audio/wav", ".m4a": "audio/mp4", ".json": "application/json",
}  # fmt: skip
_OTHER_TYPE = "application/octet-stream"


def is_key(key: str) -> bool:
    """Whether this may name an object: path segments of letters, digits, `.`, `_`, `-`, none beginning with a dot."""
    return len(key) <= _KEY_LENGTH_MAX and _KEY.fullmatch(key) is not None


def check_key(key: str) -> None:
    """Raises ValueError for a key that may not name an object; keys are made by us, so this is a fault of ours."""
    if not is_key(key):
        raise ValueError(f"{key[:80]!r} may not name an object")


def check_put(key: str, content_type: str) -> None:
    """Raises ValueError for what may not be stored: a key that may not name an object, a type that its extension denies."""
    check_key(key)
    if content_type_of(key) != content_type:
        raise ValueError(f"the extension of {key} does not say {content_type}")


def content_type_of(key: str) -> str:
    """The content type that a key's extension says."""
    extension = os.path.splitext(key)[1].lower()
    return _TYPES.get(extension) or mimetypes.types_map.get(extension, _OTHER_TYPE)


def sha256_of(key: str) -> str | None:
    """The digest of the bytes under a key, where its name carries one."""
    found = _NAMED_BY_CONTENT.search(key)
    return found[1] if found is not None else None


def task_of(key: str) -> UUID | None:
    """Which task made what lies under a key."""
    folder, _, rest = key.partition("/")
    try:
        return UUID(rest.partition("/")[0]) if folder == "results" else None
    except ValueError:
        return None


def thumbnail_key(key: str) -> str | None:
    """Where the small picture of a picture lies, a WebP: `thumb-a.webp` of a.webp, `thumb-a-jpg.webp` of a.jpg. None for what is none, or is small already."""
    folder, slash, name = key.rpartition("/")
    stem, _, extension = name.rpartition(".")
    if "." in stem or stem.endswith(_MARKS):
        return former_thumbnail_key(key)  # so that no two pictures share one
    mark = "" if extension == "webp" else f"-{extension}"
    return f"{folder}{slash}{_SMALL}{stem}{mark}.webp" if _may_be_shrunk(name) else None


def former_thumbnail_key(key: str) -> str | None:
    """Where the version before put it, with both extensions; links to it were given out."""
    folder, slash, name = key.rpartition("/")
    return f"{folder}{slash}{_SMALL}{name}.webp" if _may_be_shrunk(name) else None


def source_of_thumbnail(key: str) -> str | None:
    """The key of the picture that a small picture was made of, whichever version named it; None for what is no small picture."""
    folder, slash, name = key.rpartition("/")
    if not name.startswith(_SMALL) or not name.endswith(".webp"):
        return None
    stem = f"{folder}{slash}{name.removeprefix(_SMALL).removesuffix('.webp')}"
    marked, _, extension = stem.rpartition("-")
    return next((source for source in (stem, f"{marked}.{extension}", f"{stem}.webp") if key in (thumbnail_key(source), former_thumbnail_key(source))), None)


def _may_be_shrunk(name: str) -> bool:
    return name.endswith(_PICTURES) and not name.startswith(_SMALL)
