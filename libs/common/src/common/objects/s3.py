"""The object store in an S3 bucket. The only file that imports boto3: slowly, so only when first needed, and always in a thread."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

import structlog

from common.errors import FileNotFound, Internal, Unavailable
from common.objects.keys import check_key, check_put, content_type_of, is_key, sha256_of
from common.objects.store import CHUNK_BYTES, ObjectInfo, Shown, WriteLink
from common.settings import SettingsError

log = structlog.get_logger()

T = TypeVar("T")

_THREADS = 16
_SIGNING_THREADS = 2
_CONNECT_SECONDS = 2
_ANSWER_SECONDS = 5
_TRIES = 3
_MISSING = ("NoSuchKey", "NotFound", "404")
_PARAMETERS = ("endpoint", "region", "public")


class ObjectDamaged(Internal):
    """The store gave other bytes than the object's name says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Place:
    """Where a bucket is and who we are there. `public` is the address at which clients reach the endpoint, where that is another one."""

    bucket: str
    region: str
    endpoint: str | None
    public: str | None
    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    def of(cls, url: str, access_key: str, secret_key: str) -> Self:
        """From `s3://bucket?endpoint=http://host:port&region=us-east-1&public=https://files.example`; raises SettingsError naming every fault."""
        parts = urlsplit(url)
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        faults = [f"DARKROOM_OBJECTS_URL: {name} is not known, use {', '.join(_PARAMETERS)}" for name in given if name not in _PARAMETERS]
        if not parts.netloc or parts.path not in ("", "/"):
            faults.append("DARKROOM_OBJECTS_URL: s3:// is followed by a bucket and nothing else")
        for name in ("endpoint", "public"):
            if name in given and not given[name].startswith(("http://", "https://")):
                faults.append(f"DARKROOM_OBJECTS_URL: {name} must begin with http:// or https://")
        faults += [f"{name} is missing" for name, value in _credentials(access_key, secret_key) if not value]
        if faults:
            raise SettingsError(faults)
        return cls(
            bucket=parts.netloc,
            region=given.get("region", "us-east-1"),
            endpoint=given.get("endpoint"),
            public=given.get("public"),
            access_key=access_key,
            secret_key=secret_key,
        )


def _credentials(access_key: str, secret_key: str) -> tuple[tuple[str, str], ...]:
    return ("DARKROOM_OBJECTS_ACCESS_KEY", access_key), ("DARKROOM_OBJECTS_SECRET_KEY", secret_key)


class S3Objects:
    """Objects in a bucket. What goes in is signed with its digest, so the server refuses other bytes; what comes out is compared with its name."""

    def __init__(self, place: S3Place, *, threads: int = _THREADS, answer_seconds: float = _ANSWER_SECONDS) -> None:
        self._place = place
        self._answer_seconds = answer_seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="objects")
        # Signing needs no network and must not wait behind what does.
        self._signers = ThreadPoolExecutor(_SIGNING_THREADS, thread_name_prefix="objects-sign")
        self._connections_max = threads
        self._opening = threading.Lock()
        self._clients: dict[str | None, Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._signers.shutdown)
        for client in self._clients.values():
            client.close()

    async def put(self, key: str, body: bytes, content_type: str) -> None:
        check_put(key, content_type)

        def put() -> None:
            _check_content(key, hashlib.sha256(body).hexdigest())
            self._ask(lambda client: client.put_object(**self._named(key), Body=body, ContentType=content_type))

        await self._in_thread(put)

    async def put_file(self, key: str, path: Path, content_type: str) -> None:
        check_put(key, content_type)

        def put() -> None:
            with path.open("rb") as source:
                _check_content(key, hashlib.file_digest(source, "sha256").hexdigest())
                source.seek(0)
                self._ask(lambda client: client.put_object(**self._named(key), Body=source, ContentType=content_type))

        await self._in_thread(put)

    async def read(self, key: str) -> bytes:
        check_key(key)

        def read() -> bytes:
            body: bytes = self._ask(lambda client: client.get_object(**self._named(key))["Body"].read())
            wanted = sha256_of(key)
            if wanted is not None and hashlib.sha256(body).hexdigest() != wanted:
                log.error("objects.damaged", key=key, size_bytes=len(body))
                raise ObjectDamaged(f"the store has other bytes under {key}")
            return body

        return await self._in_thread(read)

    async def stat(self, key: str) -> ObjectInfo | None:
        check_key(key)

        def look() -> ObjectInfo | None:
            try:
                size: int = self._ask(lambda client: client.head_object(**self._named(key))["ContentLength"])
            except FileNotFound:
                return None
            return ObjectInfo(size, content_type_of(key))

        return await self._in_thread(look)

    async def open(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        check_key(key)
        if length == 0:
            if await self.stat(key) is None:
                raise FileNotFound()
            return
        asked = {} if start == 0 and length is None else {"Range": f"bytes={start}-{'' if length is None else start + length - 1}"}
        body = await self._in_thread(lambda: self._ask(lambda client: _body(client, {**self._named(key), **asked})))
        if body is None:
            return
        try:
            while piece := await self._in_thread(lambda: self._ask(lambda _: body.read(CHUNK_BYTES))):
                yield piece
        finally:
            body.close()

    async def delete(self, key: str) -> None:
        check_key(key)
        await self._in_thread(lambda: self._ask(lambda client: client.delete_object(**self._named(key))))

    async def list_keys(self, folder: str) -> list[str]:
        check_key(folder.removesuffix("/"))

        def look(client: Any) -> list[str]:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self._place.bucket, Prefix=folder, Delimiter="/")
            return [found["Key"] for page in pages for found in page.get("Contents", ()) if is_key(found["Key"])]

        return await self._in_thread(lambda: self._ask(look))

    async def link_to_read(self, key: str, shown: Shown, *, seconds: int) -> str | None:
        check_key(key)
        forced = {"ResponseContentType": shown.content_type, "ResponseContentDisposition": shown.disposition, "ResponseCacheControl": shown.cache_control}
        return await self._signed("get_object", {**self._named(key), **forced}, seconds)

    async def link_to_write(self, key: str, content_type: str, size_bytes: int, *, seconds: int) -> WriteLink | None:
        check_put(key, content_type)
        # Type and length are signed: another size or type than announced is refused by the store itself.
        url = await self._signed("put_object", {**self._named(key), "ContentType": content_type, "ContentLength": size_bytes}, seconds)
        return WriteLink(url, {"Content-Type": content_type})

    def _named(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._place.bucket, "Key": key}

    async def _signed(self, operation: str, parameters: dict[str, Any], seconds: int) -> str:
        def sign() -> str:
            url: str = self._client(self._place.public or self._place.endpoint).generate_presigned_url(operation, Params=parameters, ExpiresIn=seconds)
            return url

        return await asyncio.get_running_loop().run_in_executor(self._signers, sign)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _ask(self, question: Callable[[Any], T]) -> T:
        """Ask the store, in a thread; what it refuses and what goes wrong on the way become errors of ours."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return question(self._client(self._place.endpoint))
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _MISSING:
                raise FileNotFound() from None
            log.error("objects.refused", code=code, operation=error.operation_name)
            raise Unavailable("the object store refused", retry_after_seconds=5) from error
        except BotoCoreError as error:
            log.warning("objects.unreachable", error=type(error).__name__)
            raise Unavailable("the object store does not answer", retry_after_seconds=2) from error

    def _client(self, endpoint: str | None) -> Any:
        """Made once per address; clients of boto3 may be shared by threads, making them may not."""
        with self._opening:
            if endpoint not in self._clients:
                self._clients[endpoint] = _make_client(self._place, endpoint, connections_max=self._connections_max, answer_seconds=self._answer_seconds)
            return self._clients[endpoint]


def _body(client: Any, asked: dict[str, Any]) -> Any:
    """The stream of an object or of a part of it; None where the part begins behind the end."""
    from botocore.exceptions import ClientError

    try:
        return client.get_object(**asked)["Body"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "InvalidRange":
            return None
        raise


def _check_content(key: str, sha256: str) -> None:
    """A key names its bytes; others under it are a fault of ours."""
    wanted = sha256_of(key)
    if wanted is not None and wanted != sha256:
        raise ValueError(f"the bytes for {key} are not what it says")


@cache
def _descriptions() -> Any:
    """What the library knows of every service, read once: most of what a client costs."""
    import botocore.session

    return botocore.session.Session().get_component("data_loader")


def _make_client(place: S3Place, endpoint: str | None, *, connections_max: int, answer_seconds: float) -> Any:
    import boto3
    import botocore.session
    from botocore.config import Config

    session = botocore.session.Session()
    session.register_component("data_loader", _descriptions())
    config = Config(
        signature_version="s3v4",
        # Newer versions add checksums that stores other than Amazon's refuse, or keep inside the object.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=answer_seconds,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
        max_pool_connections=connections_max,
        s3={"addressing_style": "path" if endpoint else "auto", "payload_signing_enabled": True},
    )
    return boto3.session.Session(botocore_session=session).client(
        "s3",
        endpoint_url=endpoint,
        region_name=place.region,
        aws_access_key_id=place.access_key,
        aws_secret_access_key=place.secret_key,
        config=config,
    )
