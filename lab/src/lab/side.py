"""One of the systems a bench compares: where it is, who its users are, which processes it consists of."""

from collections.abc import Sequence
from dataclasses import dataclass

from lab.cpu import Roots


@dataclass(frozen=True)
class User:
    """Somebody with enough credits: a bearer token, and a photo of theirs as the API takes it."""

    token: str
    image_url: str


@dataclass(frozen=True)
class Side:
    """A running system; the labels of its application processes are apart from databases and brokers."""

    name: str
    url: str
    users: Sequence[User]
    roots: Roots
    application: tuple[str, ...]
