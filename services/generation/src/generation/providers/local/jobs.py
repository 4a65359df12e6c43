"""What runs in a worker: thin doors that import the heavy modules only there."""

from typing import TYPE_CHECKING, Any

from generation.providers.base import Description, Result

if TYPE_CHECKING:
    from generation.providers.local.songs import Song


def picture(photo: bytes, **asked: Any) -> Result:
    from generation.providers.local.pictures import make_picture

    return make_picture(photo, **asked)


def song(photo: bytes | None, **asked: Any) -> "Song":
    from generation.providers.local.songs import make_song

    return make_song(photo, **asked)


def describe(photo: bytes) -> Description:
    from generation.providers.local.vision import describe as describe_photo

    return describe_photo(photo)
