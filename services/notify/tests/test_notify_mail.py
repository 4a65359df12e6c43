"""Mails: kept when asked for, sent once, tried again, given up; through a folder and through a real SMTP server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiosmtpd.smtp import SMTP

from common.clock import FakeClock
from common.db import Database
from common.errors import Unavailable, UserNotFound
from common.events import Event, OrderPaid
from common.ids import new_id
from notify import commands, postman, store
from notify.clients import Address
from notify.consumers import on_order_paid
from notify.domain import TRIES_MAX, Bought, Delivery
from notify.mailbox import build_mailbox, read_all
from notify.mailers import FolderMailer, MailRefused, SmtpMailer, open_mailer
from notify.templates import Mail, render

SENDER = "Darkroom <no-reply@darkroom.example>"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class KnownPeople:
    """Who identity would answer; `fault` is raised instead while it is set."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.address = Address(email="ada@example.com", name="Ada <b>", link="https://darkroom.example/v1/password-resets#t=1&x", lang="en")

    async def address_of(self, _delivery: Delivery) -> Address:
        if self.fault is not None:
            raise self.fault
        return self.address


class Office:
    """What the postman needs, and a clock that can be moved."""

    def __init__(self, db: Database, clock: FakeClock, folder: Path) -> None:
        self.db, self.clock, self.folder = db, clock, folder
        self.identity: Any = KnownPeople()
        self.mailer: Any = FolderMailer(folder, sender=SENDER, clock=clock)

    async def ask(self, template: str = "password_reset") -> UUID:
        delivery = Delivery(new_id(), new_id(), template, "ref-1")
        async with self.db.transaction() as tx:
            await commands.keep_deliveries(tx, [delivery, delivery])
        return delivery.delivery_id

    async def send(self) -> None:
        await postman.send_due(self)  # type: ignore[arg-type]

    async def row(self, delivery_id: UUID) -> Any:
        return await self.db.fetchrow("SELECT * FROM delivery WHERE delivery_id = $1", delivery_id)

    def mails(self) -> list[Any]:
        return [message_from_bytes(path.read_bytes(), policy=policy.default) for path in sorted(self.folder.glob("*.eml"))]


@pytest.fixture
async def office(service_database: Any, tmp_path: Path) -> Office:
    clock = FakeClock(NOW)
    return Office(await service_database("notify", clock=clock), clock, tmp_path / "mailbox")


async def test_a_mail_asked_for_twice_is_sent_once(office: Office) -> None:
    delivery_id = await office.ask()
    await office.send()
    await office.send()
    [mail] = office.mails()
    assert (mail["To"], mail["From"]) == ("ada@example.com", SENDER)
    assert str(delivery_id) in mail["Message-ID"]
    assert office.identity.address.link in mail.get_body(("plain",)).get_content()
    assert (await office.row(delivery_id))["state"] == "sent"


async def test_no_address_and_no_link_is_kept(office: Office) -> None:
    await office.ask()
    await office.send()
    kept = str(await office.db.fetch("SELECT d::text FROM delivery d"))
    assert "ada@" not in kept
    assert "https://" not in kept


async def test_what_cannot_be_sent_now_is_tried_later_and_given_up_at_last(office: Office) -> None:
    delivery_id = await office.ask()
    office.identity.fault = Unavailable("identity is away")
    waits = []
    for _ in range(TRIES_MAX):
        await office.send()
        row = await office.row(delivery_id)
        waits.append((row["due_at"] - office.clock.now()).total_seconds())
        office.clock.move(seconds=(row["due_at"] - office.clock.now()).total_seconds() + 1)
    assert waits[:4] == [5, 30, 120, 600]
    assert ((await office.row(delivery_id))["state"], (await office.row(delivery_id))["tries"]) == ("failed", TRIES_MAX)
    assert office.mails() == []


async def test_a_person_who_is_gone_gets_no_second_try(office: Office) -> None:
    delivery_id = await office.ask()
    office.identity.fault = UserNotFound()
    await office.send()
    assert (await office.row(delivery_id))["state"] == "failed"


async def test_a_sender_that_died_loses_its_lease(office: Office) -> None:
    delivery_id = await office.ask()

    class Dies:
        async def send(self, *_: object) -> None:
            raise asyncio.CancelledError

    good, office.mailer = office.mailer, Dies()
    with pytest.raises(asyncio.CancelledError):
        await office.send()
    office.mailer = good
    await office.send()
    assert office.mails() == [], "its lease still runs"
    office.clock.move(seconds=postman.LEASE.total_seconds() + 1)
    await office.send()
    assert len(office.mails()) == 1
    assert (await office.row(delivery_id))["tries"] == 2


async def test_a_mail_that_breaks_its_sender_is_in_nobodys_way_and_ends(office: Office) -> None:
    broken, good = await office.ask(), office.mailer

    class Breaks:
        async def send(self, delivery_id: UUID, *more: Any) -> None:
            if delivery_id == broken:
                raise ZeroDivisionError
            await good.send(delivery_id, *more)

    office.mailer = Breaks()
    for _ in range(6):
        await office.ask()
    await office.send()
    assert len(office.mails()) == 6
    for _ in range(TRIES_MAX):
        office.clock.move(seconds=86400)
        await office.send()
    row = await office.row(broken)
    assert (row["state"], row["tries"], row["error"]) == ("failed", TRIES_MAX, "ZeroDivisionError")


async def test_a_mail_that_every_time_ends_its_senders_process_ends_too(office: Office) -> None:
    delivery_id = await office.ask()
    await office.db.fetch("UPDATE delivery SET tries = $1", TRIES_MAX)
    await office.send()
    assert ((await office.row(delivery_id))["state"], office.mails()) == ("failed", [])


async def test_an_address_may_be_of_any_script_and_is_never_read_as_another(office: Office) -> None:
    for address in ("用户@例子.公司", "zoë@xn--bcher-kva.example"):
        office.identity.address = office.identity.address.model_copy(update={"email": address})
        await office.ask()
        await office.send()
    assert sorted(mail["to"] for mail in read_all(office.folder)) == ["zoë@xn--bcher-kva.example", "用户@例子.公司"]
    office.identity.address = office.identity.address.model_copy(update={"email": "=?utf-8?q?ada?=@example.com"})
    delivery_id = await office.ask()
    await office.send()
    assert ((await office.row(delivery_id))["state"], len(office.mails())) == ("failed", 2)


async def test_without_a_mailer_mails_wait(office: Office) -> None:
    delivery_id = await office.ask()
    office.mailer = None
    await office.send()
    assert ((await office.row(delivery_id))["state"], (await office.row(delivery_id))["tries"]) == ("waiting", 0)


async def test_a_name_is_text_and_never_markup() -> None:
    mail = render("order_paid", Address(email="a@b.example", name="<script>x</script>{0}", lang="zh"), ref="ORDER1")
    assert "<script>" not in mail.html
    assert "ORDER1" in mail.text


@pytest.mark.parametrize(
    ("bought", "en", "zh"),
    [
        (Bought("credit", 100, 0, 990, "CNY"), "ORDER1 is paid: 100 credits for 9.90 CNY.", "ORDER1 已付款成功（100 积分，共 9.90 CNY）"),
        (
            Bought("point", 1, 1, 5, "USD"),
            "ORDER1 is paid: 1 day of membership and 1 point for 0.05 USD",
            "ORDER1 已付款成功（1 天会员、1 积分，共 0.05 USD",
        ),
        (None, "ORDER1 is paid. Thank you.", "ORDER1 已付款成功，感谢"),
    ],
)
async def test_a_receipt_says_what_was_bought_and_for_how_much(bought: Bought | None, en: str, zh: str) -> None:
    for lang, sentence in (("en", en), ("zh", zh)):
        address = Address(email="a@b.example", name="Ada", lang=lang)  # type: ignore[arg-type]
        mail = render("order_paid", address, ref="ORDER1", bought=bought)
        assert sentence in mail.text
        assert sentence in mail.html


class Sink:
    """An SMTP server's memory; refuses addresses at `nowhere.example`, puts off those at `later.example`."""

    def __init__(self) -> None:
        self.letters: list[bytes] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if address.endswith("@nowhere.example"):
            return "550 no such person"
        if address.endswith("@later.example"):
            return "451 try again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.letters.append(envelope.content)
        return "250 OK"


@pytest.fixture
async def smtp() -> AsyncIterator[tuple[Sink, str]]:
    sink, loop = Sink(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(sink, enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0)
    yield sink, f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def test_a_real_server_gets_the_mail_and_its_no_is_final_or_not(smtp: tuple[Sink, str]) -> None:
    sink, url = smtp
    mailer = SmtpMailer(urlsplit(url), sender=SENDER, clock=FakeClock(NOW))
    mail = Mail("你好", "text\n", "<p>text</p>")
    await mailer.send(new_id(), "ada@example.com", mail)
    [letter] = [message_from_bytes(raw, policy=policy.default) for raw in sink.letters]
    assert letter["Subject"] == "你好"
    await mailer.send(new_id(), "用户@例子.公司", mail)
    assert sink.letters[1].split(b"\r\n")[1] == "To: 用户@例子.公司".encode()
    with pytest.raises(MailRefused):
        await mailer.send(new_id(), "ada@nowhere.example", mail)
    with pytest.raises(OSError, match="for now"):
        await mailer.send(new_id(), "ada@later.example", mail)


async def test_a_server_that_is_away_is_the_weather() -> None:
    mailer = SmtpMailer(urlsplit("smtp://127.0.0.1:9"), sender=SENDER, clock=FakeClock(NOW))
    with pytest.raises(OSError):
        await mailer.send(new_id(), "ada@example.com", Mail("s", "t\n", "h"))


def test_only_addresses_of_mail_servers_and_folders_are_taken() -> None:
    for url in ("http://x", "smtp://", "ftp://a/b", "nonsense"):
        with pytest.raises(ValueError, match="must begin"):
            open_mailer(url, sender=SENDER, clock=FakeClock(NOW))
    assert open_mailer("", sender=SENDER, clock=FakeClock(NOW)) is None


async def test_the_mailbox_page_shows_what_was_sent_and_nothing_else(office: Office) -> None:
    await office.ask()
    await office.send()
    (office.folder.parent / "secret.eml").write_text("Subject: no\n\nno")
    async with TestClient(TestServer(build_mailbox(office.folder))) as client:
        [mail] = (await (await client.get("/mails.json")).json())["mails"]
        assert mail["to"] == "ada@example.com"
        page = await (await client.get("/")).text()
        assert mail["subject"] in page
        shown = await client.get(f"/mails/{mail['name']}")
        assert 'href="https://darkroom.example/v1/password-resets#t=1&amp;x"' in await shown.text()
        assert "<b>" not in await shown.text()
        assert "default-src 'none'" in shown.headers["Content-Security-Policy"]
        for name in ("../secret.eml", "..%2Fsecret.eml", "secret.eml", "x"):
            assert (await client.get(f"/mails/{name}")).status == 404


def test_back_off_never_shrinks() -> None:
    from notify.domain import next_try

    waits = [next_try(tries) for tries in range(1, TRIES_MAX)]
    assert waits == sorted(waits, key=lambda wait: wait or timedelta())
    assert next_try(TRIES_MAX) is None


async def test_a_paid_order_is_told_in_the_feed_and_by_one_mail(office: Office) -> None:
    fact = OrderPaid.model_validate_json(orjson.dumps(OrderPaid.example))
    event: Event[Any] = Event(new_id(), fact, NOW)
    deps = SimpleNamespace(hub=SimpleNamespace(origin="here", push_notices=lambda _notices: None), mail_asked=asyncio.Event())
    for _ in range(2):
        with contextlib.suppress(asyncpg.UniqueViolationError):
            async with office.db.transaction() as tx:
                await on_order_paid(deps, tx, [event])  # type: ignore[arg-type]
    await office.send()
    assert len(office.mails()) == 1
    said = office.mails()[0].get_body(("plain",)).get_content()
    assert f"order {fact.order_no} is paid: 30 days of membership and 2000 points for 5.00 USD." in said
    [notice] = await store.list_notices(office.db, fact.user_id, after_seq=0, limit=5)
    assert (notice.type, notice.payload["order_no"]) == ("order_paid", fact.order_no)
