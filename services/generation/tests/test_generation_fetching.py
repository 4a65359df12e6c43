"""Addresses that others name: what is public is fetched within limits, and nothing private is ever connected to."""

import asyncio
import io
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from generation.fetching import Fetcher, Unfetchable, is_public

HOST = "pictures.example"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def a_picture(side: int = 9) -> bytes:
    written = io.BytesIO()
    Image.effect_noise((side, side), 80).convert("RGB").save(written, "PNG")
    return written.getvalue()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of this test's host, signed by itself: certificate and key in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain) + made.public_bytes(serialization.Encoding.PEM))
    return path


class Host:
    """A server of pictures somewhere, and a fetcher that may go there although it is here."""

    def __init__(self) -> None:
        self.answer: Handler | None = None
        self.asked: list[str] = []
        self.looked_up: list[str] = []
        self.addresses: Sequence[str] = ("127.0.0.1",)
        self.port = 0
        self.trusted: ssl.SSLContext | None = None

    async def take(self, http: web.Request) -> web.StreamResponse:
        self.asked.append(http.path)
        assert self.answer is not None
        return await self.answer(http)

    async def look_up(self, host: str, _port: int) -> Sequence[str]:
        self.looked_up.append(host)
        return self.addresses

    def fetcher(self, **more: Any) -> Fetcher:
        given: dict[str, Any] = {"pause_seconds": 0.01, "look_up": self.look_up, "is_allowed": lambda one: one == "127.0.0.1" or is_public(one)}
        return Fetcher(ssl=self.trusted, **{**given, **more})

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}/picture.png"


@pytest.fixture
async def host(certificate: Path) -> AsyncIterator[Host]:
    found = Host()
    application = web.Application()
    application.router.add_get("/{name}", found.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=served).start()
    found.port = runner.addresses[0][1]
    found.trusted = ssl.create_default_context(cafile=str(certificate))
    yield found
    await runner.cleanup()


def says(body: bytes, status: int = 200, **headers: str) -> Handler:
    async def answer(_http: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


async def refused(fetcher: Fetcher, url: str) -> str:
    async with fetcher as fetch:
        with pytest.raises(Unfetchable) as raised:
            await fetch(url)
    return str(raised.value)


async def test_a_picture_is_fetched_from_where_its_name_leads(host: Host) -> None:
    picture = a_picture(200)
    host.answer = says(picture, Content_Type="text/html")
    async with host.fetcher() as fetch:
        assert await fetch(host.url) == picture
    assert host.looked_up == [HOST]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "::1",
     "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "64:ff9b::7f00:1", "2002:7f00:1::", "1.2", "x"],
)  # fmt: skip
def test_what_is_no_address_on_the_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_what_is_an_address_on_the_internet(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    ["http://pictures.example/a.png", "file:///etc/passwd", "ftp://pictures.example/a.png", "//pictures.example/a.png", "pictures.example", "", "https://",
     "https:///a.png", "https://user:word@pictures.example/a.png", "https://user@pictures.example/a.png", "https://127.0.0.1/a.png", "https://[::1]/a.png",
     "https://[::ffff:127.0.0.1]/a.png", "https://[::ffff:7f00:1]/a.png", "https://169.254.169.254/latest/meta-data", "https://１２７.0.0.1/a.png",
     "https://[fe80::1%25eth0]/a.png", "https://pictures.example:99999/a.png", "https://pictures.example:0/a.png", "https://" + "a" * 2100,
     "javascript:alert(1)"],
)  # fmt: skip
async def test_an_address_that_is_refused_before_any_name_is_looked_up(url: str, host: Host) -> None:
    await refused(host.fetcher(is_allowed=is_public), url)
    assert host.looked_up == host.asked == []


@pytest.mark.parametrize("name", ["0x7f000001", "2130706433", "0177.0.0.1", "127.1", "localhost"])
async def test_a_name_that_the_system_takes_for_this_machine(name: str) -> None:
    said = await refused(Fetcher(pause_seconds=0), f"https://{name}/a.png")
    assert "private" in said or "cannot be read" in said


async def test_a_name_with_one_private_address_is_not_connected_to_at_all(host: Host) -> None:
    host.answer = says(a_picture())
    host.addresses = ["127.0.0.1", "10.0.0.1"]
    assert "private" in await refused(host.fetcher(), host.url)
    host.addresses = ["93.184.216.34", "127.0.0.1"]
    assert "private" in await refused(host.fetcher(is_allowed=is_public), host.url)
    assert host.asked == []


async def test_a_redirect_is_not_followed(host: Host) -> None:
    for status in (301, 302, 303, 307, 308):
        host.answer = says(b"", status, Location="https://127.0.0.1/inside")
        assert str(status) in await refused(host.fetcher(), host.url)
    assert len(host.asked) == 5


async def test_what_is_no_picture_is_not_read_on(host: Host) -> None:
    for body in (b"<html>" + b"x" * 100_000, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a" + b"\0" * 100, b"PK\x03\x04", b"%!PS-Adobe", b""):
        host.answer = says(body, Content_Type="image/png")
        await refused(host.fetcher(), host.url)

    sent = 0
    for start in (b"<html>", b"GIF89a", b"PK\x03\x04", b"\0"):

        async def long(http: web.Request, start: bytes = start) -> web.StreamResponse:
            nonlocal sent
            response = web.StreamResponse()
            await response.prepare(http)
            await response.write(start)
            while sent < 20_000_000:
                await response.write(b"\0" * 100_000)
                sent += 100_000
            return response

        host.answer, sent = long, 0
        assert "no JPEG, PNG or WebP" in await refused(host.fetcher(), host.url)
        assert sent < 15_000_000, "what the system holds in between was written, and no more"


async def test_too_much_is_refused_whether_it_is_announced_or_not(host: Host) -> None:
    sent = 0

    async def endless(http: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(http)
        await response.write(a_picture())
        while sent < 50_000_000:
            await response.write(b"\0" * 100_000)
            sent += 100_000
        return response

    host.answer = says(a_picture(300))
    assert "too large" in await refused(host.fetcher(bytes_max=10_000), host.url)
    host.answer = endless
    assert "too large" in await refused(host.fetcher(bytes_max=1_000_000), host.url)
    assert sent < 50_000_000


async def test_a_drip_ends_when_the_time_is_up(host: Host) -> None:
    async def drip(http: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(http)
        for byte in a_picture(99):
            await response.write(bytes([byte]))
            await asyncio.sleep(0.5)
        return response

    host.answer = drip
    began = time.monotonic()
    await refused(host.fetcher(seconds_max=0.2), host.url)
    assert time.monotonic() - began < 20
    assert len(host.asked) == 3


async def test_addresses_that_never_answer_cost_no_other_its_picture(host: Host) -> None:
    picture = a_picture(7)

    async def answer(http: web.Request) -> web.StreamResponse:
        if http.path == "/slow.png":
            await asyncio.sleep(60)
        return web.Response(body=picture)

    host.answer = answer
    async with host.fetcher(at_once_max=1, seconds_max=1) as fetch:
        slow = [asyncio.create_task(fetch(host.url.replace("picture.png", "slow.png"))) for _ in range(2)]
        await asyncio.sleep(0)
        assert await fetch(host.url) == picture
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_what_is_compressed_is_refused(host: Host) -> None:
    host.answer = says(a_picture(), Content_Encoding="gzip")
    assert "compressed" in await refused(host.fetcher(), host.url)


async def test_what_passes_is_tried_again_and_what_does_not_is_not(host: Host) -> None:
    picture, statuses = a_picture(), [503, 429]

    async def late(http: web.Request) -> web.StreamResponse:
        return web.Response(body=picture, status=statuses.pop(0) if statuses else 200)

    host.answer = late
    async with host.fetcher() as fetch:
        assert await fetch(host.url) == picture
    assert len(host.asked) == 3
    host.answer = says(b"", 404)
    await refused(host.fetcher(), host.url)
    assert len(host.asked) == 4


async def test_a_certificate_of_somebody_else_is_not_trusted(host: Host) -> None:
    host.answer = says(a_picture())
    await refused(host.fetcher(), host.url.replace(HOST, "other.example"))
    host.trusted = None
    await refused(host.fetcher(), host.url)
    assert host.asked == []
