"""What an object store promises, whichever it is."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of an object without reading it."""

    size: int
    content_type: str


@dataclass(frozen=True, slots=True)
class Shown:
    """How an object is to be shown by whoever serves it; the headers of the answer."""

    content_type: str
    disposition: str
    cache_control: str


@dataclass(frozen=True, slots=True)
class WriteLink:
    """Where a client may put one object itself, by PUT with exactly these headers and as many bytes as it announced."""

    url: str
    headers: Mapping[str, str]


class ObjectStore(Protocol):
    """Bytes under keys. A key names its bytes for ever (it ends in their sha256), so putting twice is putting once.

    Under a key that names no bytes (what nobody looked at yet) the last put counts.

    A store that does not answer, or refuses us, raises Unavailable.
    """

    async def put(self, key: str, body: bytes, content_type: str) -> None:
        """Store; once this returns the bytes survive a power cut."""
        ...

    async def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Store a copy of a file."""
        ...

    async def read(self, key: str) -> bytes:
        """All bytes; raises FileNotFound."""
        ...

    async def stat(self, key: str) -> ObjectInfo | None: ...

    def open(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` on, in pieces; raises FileNotFound at the first piece."""
        ...

    async def delete(self, key: str) -> None:
        """Remove; removing what is not there is done already."""
        ...

    async def list_keys(self, folder: str) -> list[str]:
        """The keys right in a folder, which is named with its slash; none where there is no such folder."""
        ...

    async def link_to_read(self, key: str, shown: Shown, *, seconds: int) -> str | None:
        """A link by which a client gets the bytes from the store itself, good for so long; None where clients cannot reach the store."""
        ...

    async def link_to_write(self, key: str, content_type: str, size_bytes: int, *, seconds: int) -> WriteLink | None:
        """A link by which a client puts an object into the store itself; None where clients cannot reach the store."""
        ...

    async def close(self) -> None: ...
