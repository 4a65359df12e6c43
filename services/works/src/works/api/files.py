"""Bytes by signed link. Whoever holds a good link is served; what comes out is inert whatever was put in."""

import re
from collections.abc import Mapping

from aiohttp import web

from common.errors import FileNotFound, Forbidden, InvalidParameter
from common.objects import Shown, content_type_of
from common.web import Media, Query, Request, Route
from common.web.dialects import render_error
from works.api.conditional import names
from works.deps import Deps

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_DIRECT_SECONDS = 300
"""How long a way to the store is good."""
_SHOWN = ("image/jpeg", "image/png", "image/webp", "audio/mpeg", "audio/ogg", "audio/wav", "audio/flac", "audio/mp4")


_FILE = Media("image/*", "audio/*", "application/octet-stream")


class LinkQuery(Query):
    """What a link to a file says of itself; looked at by who signed it."""

    exp: str | None = None
    sig: str | None = None


class RangeNotSatisfiable(InvalidParameter):
    """The file ends before the asked range begins."""

    status = 416


async def show_file(request: Request[Deps]) -> web.StreamResponse:
    """A file, a part of it, the news that nothing changed, or the way to the store where that serves clients itself."""
    http, deps = request.http, request.deps
    now = deps.clock.now()
    key = deps.signer.verify(http.rel_url.raw_path, http.rel_url.query, now)
    left_seconds = int(http.rel_url.query["exp"]) - int(now.timestamp())
    etag = _etag_of(key)
    headers = {**_headers_of(key), "ETag": etag, "Cache-Control": _cache_control(left_seconds)}
    if names(http.headers.get("If-None-Match"), etag):
        return web.Response(status=304, headers={name: headers[name] for name in ("ETag", "Cache-Control")})
    info = await deps.thumbnails.look(key)
    if http.method == "GET":
        elsewhere = await _redirect(deps, key, headers, left_seconds)
        if elsewhere is not None:
            elsewhere.headers["X-Request-Id"] = request.request_id
            return elsewhere
    part = None
    if http.method == "GET" and http.headers.get("If-Range", etag) == etag:
        try:
            part = range_of(http.headers.get("Range"), info.size)
        except RangeNotSatisfiable as error:
            return _refuse_range(request, error, info.size)
    first, last = part or (0, info.size - 1)
    if part is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{info.size}"
    response = web.StreamResponse(status=206 if part is not None else 200, headers=headers)
    response.content_length = last - first + 1
    return await _send(request, response, key, first)


async def _redirect(deps: Deps, key: str, headers: Mapping[str, str], left_seconds: int) -> web.Response | None:
    """The way to the store, which is told what to say of the bytes; it ends with our own link at the latest. None where we serve ourselves."""
    seconds = max(1, min(left_seconds, _DIRECT_SECONDS))
    shown = Shown(headers["Content-Type"], headers["Content-Disposition"], _cache_control(left_seconds))
    url = await deps.objects.link_to_read(key, shown, seconds=seconds)
    if url is None:
        return None
    response = web.Response(status=302)
    response.headers["Location"] = url
    # Kept for half its life, so that whoever follows a kept answer still has time.
    response.headers["Cache-Control"] = f"public, max-age={seconds // 2}"
    return response


def range_of(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte of the one asked range; None where the whole file is the answer: no range, several, or one that makes no sense."""
    asked = _RANGE.fullmatch(header.strip()) if header else None
    if asked is None:
        return None
    start, end = asked.groups()
    if not start:
        if not end:
            return None
        if int(end) == 0 or size == 0:
            raise RangeNotSatisfiable()
        return max(0, size - int(end)), size - 1
    if end and int(end) < int(start):
        return None
    if int(start) >= size:
        raise RangeNotSatisfiable()
    return int(start), min(int(end), size - 1) if end else size - 1


async def _send(request: Request[Deps], response: web.StreamResponse, key: str, first: int) -> web.StreamResponse:
    response.headers["X-Request-Id"] = request.request_id
    length = response.content_length or 0
    await response.prepare(request.http)
    if request.http.method == "GET" and length:
        async for piece in request.deps.objects.open(key, first, length):
            await response.write(piece)
    await response.write_eof()
    return response


def _refuse_range(request: Request[Deps], error: RangeNotSatisfiable, size: int) -> web.Response:
    status, body, headers = render_error(
        error, dialect=request.dialect, lang=request.lang, path=request.http.path, request_id=request.request_id, problem=False
    )
    return web.Response(status=status, body=body, headers={**headers, "Content-Range": f"bytes */{size}"})


def _etag_of(key: str) -> str:
    # The name ends in the sha256 of the bytes, so it says everything a validator has to say.
    return f'"{key.rpartition("/")[2].rpartition(".")[0]}"'


def _headers_of(key: str) -> dict[str, str]:
    content_type = content_type_of(key)
    name = key.rpartition("/")[2]
    shown = "inline" if content_type in _SHOWN else "attachment"
    return {
        "Content-Type": content_type if shown == "inline" else "application/octet-stream",
        "Content-Disposition": f'{shown}; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Accept-Ranges": "bytes",
    }


def _cache_control(left_seconds: int) -> str:
    """Anybody on the way may keep it, by its whole address, for whoever has that may see it; and no longer than the link is good."""
    return f"public, max-age={max(0, left_seconds)}, immutable"


ROUTES = (
    Route(
        "GET",
        "/files/{key:.+}",
        show_file,
        auth="none",
        raw=True,
        query=LinkQuery,
        answers={200: _FILE, 206: _FILE, 302: None, 304: None},
        refusals=(FileNotFound, Forbidden, RangeNotSatisfiable),
        summary="A file by its signed link",
    ),
)
