"""Facts about people, owned by identity."""

from typing import Any, ClassVar, Literal
from uuid import UUID

from common.events.base import SELDOM, Fact, Service


class UserRegistered(Fact):
    """Somebody signed up. No e-mail, no openid: ids and a name only."""

    topic: ClassVar[str] = "user.registered"
    partitions: ClassVar[int] = SELDOM
    owner: ClassVar[Service] = "identity"
    groups: ClassVar[tuple[Service, ...]] = ("works", "notify")
    personal_data: ClassVar[bool] = True
    example: ClassVar[dict[str, Any]] = {"sequence": 1, "user_id": "0198c3a0-0000-7000-8000-000000000002", "name": "ada", "avatar_key": None, "source": "email"}

    user_id: UUID
    name: str
    avatar_key: str | None = None
    source: Literal["wechat", "email", "import"]

    @property
    def subject(self) -> str:
        return f"user/{self.user_id}"


class UserUpdated(Fact):
    """Somebody's name, picture, role or state is another now; all of it is told."""

    topic: ClassVar[str] = "user.updated"
    partitions: ClassVar[int] = SELDOM
    owner: ClassVar[Service] = "identity"
    groups: ClassVar[tuple[Service, ...]] = ("works",)
    personal_data: ClassVar[bool] = True
    example: ClassVar[dict[str, Any]] = {
        "sequence": 2,
        "user_id": "0198c3a0-0000-7000-8000-000000000002",
        "name": "ada",
        "avatar_key": None,
        "role": "user",
        "status": "disabled",
    }

    user_id: UUID
    name: str
    avatar_key: str | None = None
    role: Literal["user", "admin"]
    status: Literal["active", "disabled"]

    @property
    def subject(self) -> str:
        return f"user/{self.user_id}"
