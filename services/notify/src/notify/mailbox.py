"""The embedded run's mailbox: a page, on a port of its own and on this machine only, that shows what would have been mailed."""

import asyncio
import re
from collections.abc import Callable, Coroutine
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import escape
from pathlib import Path
from typing import Any

from aiohttp import web

_NAME = re.compile(r"[0-9T.]+-[0-9a-f-]{36}\.eml")
_LINK = re.compile(r"https?://[^\s<>\"']+")
_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'self'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#222}
li{margin:.4rem 0}small{color:#777}pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;background:#f6f6f4;padding:1rem;border-radius:.5rem}"""


def build_mailbox(folder: Path) -> web.Application:
    """`/` lists, `/mails/<name>` shows one, `/mails.json` is for scripts."""

    async def show_list(_request: web.Request) -> web.Response:
        mails = await asyncio.to_thread(read_all, folder)
        items = "".join(
            f'<li><a href="/mails/{escape(mail["name"])}">{escape(mail["subject"])}</a><br><small>{escape(mail["to"])}, {escape(mail["date"])}</small></li>'
            for mail in mails
        )
        return _page("Mailbox", f"<ul>{items}</ul>" if mails else "<p>No mail yet.</p>")

    async def show_json(_request: web.Request) -> web.Response:
        return web.json_response({"mails": await asyncio.to_thread(read_all, folder)}, headers=_HEADERS)

    async def show_mail(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        path = folder / name
        if not _NAME.fullmatch(name) or not path.is_file():
            raise web.HTTPNotFound(text="There is no such mail.", headers=_HEADERS)
        mail = await asyncio.to_thread(read_one, path)
        text = _LINK.sub(lambda found: f'<a href="{found[0]}">{found[0]}</a>', escape(mail["text"]))
        return _page(mail["subject"], f'<p><small>{escape(mail["to"])}, {escape(mail["date"])}</small></p><pre>{text}</pre><p><a href="/">All mails</a></p>')

    async def show_style(_request: web.Request) -> web.Response:
        return web.Response(text=_STYLE, content_type="text/css", headers=_HEADERS)

    application = web.Application()
    application.add_routes([web.get("/", show_list), web.get("/mails.json", show_json), web.get("/mails/{name}", show_mail), web.get("/style.css", show_style)])
    return application


def mailbox_loop(folder: Path, host: str, port: int) -> Callable[[asyncio.Event], Coroutine[Any, Any, None]]:
    """Serve the page until draining."""

    async def loop(draining: asyncio.Event) -> None:
        runner = web.AppRunner(build_mailbox(folder), handle_signals=False, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            await draining.wait()
        finally:
            await runner.cleanup()

    return loop


def read_all(folder: Path) -> list[dict[str, str]]:
    """Every mail, the newest first."""
    return [read_one(path) for path in sorted(folder.glob("*.eml"), reverse=True)] if folder.is_dir() else []


def read_one(path: Path) -> dict[str, str]:
    """A mail's name, addresses, subject, date and text."""
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert isinstance(message, EmailMessage)
    body = message.get_body(preferencelist=("plain",))
    return {
        "name": path.name,
        # Bytes beyond ASCII, as addresses of other scripts have them, come as surrogates.
        "to": str(message["To"]).encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "subject": str(message["Subject"]),
        "date": str(message["Date"]),
        "text": body.get_content() if body is not None else "",
    }


def _page(title: str, body: str) -> web.Response:
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f'<title>{escape(title)}</title><link rel="stylesheet" href="/style.css">'
    html = f'<!doctype html><html lang="en">{head}<h1>{escape(title)}</h1>{body}</html>'
    return web.Response(text=html, content_type="text/html", headers=_HEADERS)
