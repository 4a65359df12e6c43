"""The picture that comes with a sign-up: kept by works, by the rules of every upload."""

from dataclasses import dataclass

from common.errors import FileTooLarge, InvalidParameter, ServiceError
from common.ids import UserId, derived_id
from common.web import Request
from identity import clients
from identity.deps import Deps

PICTURE_BYTES_MAX = 10 * 1024 * 1024
_LINK_LENGTH_MAX = 2048


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it came: as base64, or as the key of an upload the asker may copy."""

    content: str | None = None
    key: str | None = None


async def read_avatar(request: Request[Deps], given: str | None) -> Picture | None:
    """A data URL, or the link to an upload of whoever asks. A link to somebody else's is refused, however good it is."""
    if not given:
        return None
    if given[:5].lower() == "data:":
        if (len(given) - given.find(",") - 1) * 3 // 4 > PICTURE_BYTES_MAX + 2:
            raise FileTooLarge.of("avatar", "bytes", most=PICTURE_BYTES_MAX)
        return Picture(content=given)
    key = request.deps.links.key_of(given, good_at=request.deps.db.clock.now()) if len(given) <= _LINK_LENGTH_MAX else None
    owner = await _asker(request) if key is not None else None
    if key is None or owner is None or not key.startswith(f"uploads/{owner}/"):
        raise InvalidParameter.of("avatar", "your-upload")
    return Picture(key=key)


async def keep_avatar(deps: Deps, picture: Picture, user_id: UserId) -> str:
    """Its key. Raises what an upload raises, named as our client named it."""
    return await clients.keep_picture(
        deps.works, file_id=derived_id("avatar", user_id), user_id=user_id, content=picture.content, key=picture.key, field="avatar",
        deadline_seconds=deps.picture_seconds,
    )  # fmt: skip


async def _asker(request: Request[Deps]) -> UserId | None:
    """Whose token came along, if any good one did: signing up needs none, and an old one must not be in the way."""
    headers = request.http.headers
    kind, _, token = headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer":
        token = headers.get("X-LC-Session", "")
    try:
        return (await request.deps.authenticator.principal_of(token.strip())).user_id if token else None
    except ServiceError:
        return None
