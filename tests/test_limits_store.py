"""Two gateways in front of the whole suite, counting together in one Redis: what they know of each other, and what goes on when it is killed or hangs."""

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp
import orjson
import pytest
from yarl import URL

from common.ids import new_id
from lab.people import Person
from lab.rig import Rig, rig_running
from suite.embedded.redis import EmbeddedRedis

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

KEY_ID, SECRET = "app", secrets.token_hex(32)
LOGINS_MAX = 4
STORE_WAIT_SECONDS = 1.0
SECONDS_MAX = STORE_WAIT_SECONDS + 20
"""Nobody waits for ever; how long a login takes otherwise is the machine's affair."""
CREATE, WORKS = "/api/tasks/create", "/api/works"
ENVIRONMENT = {
    "DARKROOM_LOG_LEVEL": "warning",
    "GATEWAY_LIMITS": "on",
    "GATEWAY_LOGIN_LIMIT": f"{LOGINS_MAX}/15 minutes",
    "GATEWAY_LIMITS_WAIT_SECONDS": str(STORE_WAIT_SECONDS),
    "GATEWAY_LIMITS_PAUSE_SECONDS": "0.2",
    "GATEWAY_TRUSTED_PROXIES": "127.0.0.0/8",
    "GATEWAY_SIGNING_KEYS": orjson.dumps({KEY_ID: {"secret": SECRET}}).decode(),
}

_places = count(1)


def new_place() -> str:
    """An address nobody asked from before."""
    return f"198.51.100.{next(_places)}"


@dataclass(frozen=True)
class Answer:
    status: int
    code: str
    headers: Any
    data: Any
    seconds: float

    def left(self, budget: str) -> int:
        """How many requests of a budget are left."""
        found = re.search(rf'"{budget}";r=(\d+);', self.headers["RateLimit"])
        assert found, self.headers["RateLimit"]
        return int(found[1])


@dataclass
class Client:
    """Somebody at one address, who speaks to either gateway, and signs as the rules for clients say."""

    rig: Rig
    person: Person
    place: str = field(default_factory=new_place)

    async def ask(self, gateway: int, method: str, target: str, *, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        url = URL(self.rig.environment["GATEWAY_URL"].split(",")[gateway] + target, encoded=True)
        given = {"X-Forwarded-For": self.place, "Authorization": f"Bearer {self.person.token}", **({"Content-Type": "application/json"} if body else {})}
        began = time.monotonic()
        async with self.person.http.request(method, url, data=body or None, headers={**given, **(headers or {})}) as answer:
            data = await answer.json(content_type=None)
            return Answer(answer.status, answer.headers.get("X-Error-Code", ""), answer.headers, data, time.monotonic() - began)

    async def wrong_login(self, gateway: int) -> Answer:
        body = orjson.dumps({"email": f"{new_id().hex}@people.example", "password": "a guess at best"})
        return await self.ask(gateway, "POST", "/login", body=body)

    def wish(self) -> bytes:
        """A picture, each time another one."""
        return orjson.dumps({"type": "travel", "images": [self.person.photo_url], "scene_id": "beach-sunset", "custom_description": new_id().hex})

    async def tasks(self) -> int:
        return int((await self.ask(0, "GET", "/api/tasks/user/list")).data["data"]["pagination"]["total"])

    async def orders(self) -> int:
        return int((await self.ask(0, "GET", "/api/credits/orders")).data["data"]["pagination"]["total"])


def sign(method: str, target: str, body: bytes = b"", *, at: str = "", nonce: str = "") -> dict[str, str]:
    """The five headers. The query of `target` is in its canonical spelling already."""
    at, nonce, digest = at or str(int(time.time())), nonce or secrets.token_urlsafe(16), hashlib.sha256(body).hexdigest()
    path, _, query = target.partition("?")
    text = "\n".join(("v1", method, path, query, at, nonce, digest, KEY_ID))
    return {
        "X-Signature": hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest(), "X-Signature-Key": KEY_ID,
        "X-Signature-Timestamp": at, "X-Signature-Nonce": nonce, "X-Signature-Content-SHA256": digest,
    }  # fmt: skip


@pytest.fixture(scope="module")
async def rig(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """Every service a process of its own, the gateway two, limits on, one Redis."""
    options = ("--separate", "--provider", "instant", "--replicas", "gateway=2")
    env = {**ENVIRONMENT, "DARKROOM_LIMITS_URL": redis_server.url}
    async with rig_running(tmp_path_factory.mktemp("limits"), *options, env=env) as running:
        yield running


@pytest.fixture
async def store(rig: Rig, redis_server: EmbeddedRedis) -> AsyncIterator[EmbeddedRedis]:
    """The Redis, running, and both gateways know; whatever a test does to it."""
    await store_is_back(rig)
    yield redis_server
    redis_server.resume()
    if not redis_server.is_running:
        await redis_server.start()


@pytest.fixture(scope="module")
async def somebody(rig: Rig) -> AsyncIterator[Person]:
    async with Person(lambda: rig.url) as person:
        await person.sign_up()
        await rig.grant(person.user_id, 1000)
        await person.upload()
        yield person


@pytest.fixture
def client(rig: Rig, store: EmbeddedRedis, somebody: Person) -> Client:
    return Client(rig, somebody)


async def store_is_back(rig: Rig) -> None:
    """Wait until both gateways say that their store answers."""
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        for url in rig.home.running_state().admin_urls["gateway"]:
            while True:
                async with http.get(url + "/metrics") as answer:
                    if re.search(r"^darkroom_limits_store_up(\{[^}]*\})? 1\.0$", await answer.text(), re.MULTILINE):
                        break
                await asyncio.sleep(0.05)


async def test_both_gateways_count_as_one(client: Client) -> None:
    budgets = [(await client.ask(number % 2, "GET", WORKS)).left("address") for number in range(6)]
    assert budgets == list(range(budgets[0], budgets[0] - 6, -1))
    guesses = [await client.wrong_login(number % 2) for number in range(LOGINS_MAX + 2)]
    assert [guess.code for guess in guesses] == ["20001"] * LOGINS_MAX + ["10004"] * 2
    assert (await client.ask(0, "GET", WORKS)).status == 200


async def test_what_one_gateway_took_the_other_refuses(client: Client) -> None:
    before, wish = await client.tasks(), client.wish()
    headers = sign("POST", CREATE, wish)
    assert (await client.ask(0, "POST", CREATE, body=wish, headers=headers)).status == 200
    for gateway in (1, 0):
        again = await client.ask(gateway, "POST", CREATE, body=wish, headers=headers)
        assert (again.status, again.code) == (401, "10002")
    headers = sign("POST", CREATE, wish)
    answers = await asyncio.gather(*(client.ask(number % 2, "POST", CREATE, body=wish, headers=headers) for number in range(20)))
    assert sorted(answer.status for answer in answers) == [200] + [401] * 19
    assert await client.tasks() == before + 2


async def test_a_signature_that_does_not_hold_uses_up_no_nonce(client: Client) -> None:
    before, wish = await client.tasks(), client.wish()
    headers = sign("POST", CREATE, wish)
    forged = {**headers, "X-Signature": "0" * 64}
    assert (await client.ask(0, "POST", CREATE, body=wish, headers=forged)).status == 401
    for changed in (wish.replace(b"beach", b"peach"), wish + b" ", b"{}"):
        assert (await client.ask(0, "POST", CREATE, body=changed, headers=headers)).status == 401
    for other in ("/music/tasks", CREATE + "?a=1", "/api/credits/recharge"):
        assert (await client.ask(0, "POST", other, body=wish, headers=headers)).status == 401
    assert (await client.ask(0, "GET", WORKS, headers=headers)).status == 401
    assert await client.tasks() == before
    assert (await client.ask(1, "POST", CREATE, body=wish, headers=headers)).status == 200
    assert await client.tasks() == before + 1


async def test_a_signature_is_good_for_five_minutes_before_and_after(client: Client) -> None:
    if time.time() % 1 > 0.5:
        await asyncio.sleep(1 - time.time() % 1)  # or the second ends while it is asked
    now = time.time()
    good = [str(int(now) + shift) for shift in (-299, 300)]
    bad = [str(int(now) - 301), str(int(now) + 301), str(int(now * 1000)), f"{now:.3f}"]
    refused = await asyncio.gather(*(client.ask(gateway, "GET", WORKS, headers=sign("GET", WORKS, at=at)) for at in bad for gateway in (0, 1)))
    assert {(answer.status, answer.code) for answer in refused} == {(401, "10002")}
    for at in good:
        headers = sign("GET", WORKS, at=at)
        assert [(await client.ask(gateway, "GET", WORKS, headers=headers)).status for gateway in (0, 1)] == [200, 401]


async def test_a_query_has_one_meaning_at_both_gateways(client: Client) -> None:
    signed = f"{WORKS}?page=1&pageSize=5&type=a%20b"
    for sent in ("pageSize=5&type=a%20b&page=1", "type=a+b&page=%31&pageSize=5"):
        headers = sign("GET", signed)
        first, again = [await client.ask(gateway, "GET", f"{WORKS}?{sent}", headers=headers) for gateway in (0, 1)]
        assert (first.code, again.code) == ("10001", "10002"), "the first is judged by works, the second is a repeat"
    changed = await client.ask(0, "GET", f"{WORKS}?page=2&pageSize=5&type=a%20b", headers=sign("GET", signed))
    assert changed.code == "10002"


@pytest.mark.parametrize("how", ["killed", "hangs"])
async def test_without_the_store_all_goes_on_logins_are_limited_here_and_signed_changes_wait(client: Client, store: EmbeddedRedis, how: str) -> None:
    tasks, orders = await client.tasks(), await client.orders()
    if how == "killed":
        await store.kill()
    else:
        store.pause()
    await all_goes_on(client)
    for gateway in (0, 1):
        await logins_are_limited(Client(client.rig, client.person), gateway)
    kept = await signed_changes_wait(client)
    assert (await client.tasks(), await client.orders()) == (tasks + 3, orders)
    if how == "killed":
        await store.start()
    else:
        store.resume()
    await store_is_back(client.rig)
    # A hung store may still carry out what was sent to it, so there the client signs anew, as it should at every attempt.
    target, body, headers = kept
    headers = headers if how == "killed" else sign("POST", target, body)
    assert [(await client.ask(gateway, "POST", target, body=body, headers=headers)).status for gateway in (0, 1)] == [200, 401]
    fresh = Client(client.rig, client.person)
    assert [(await fresh.ask(gateway, "GET", WORKS)).left("address") for gateway in (0, 1, 0)] == [999, 998, 997]


async def all_goes_on(client: Client) -> None:
    """A crowd that reads, and somebody who uploads, creates and hears of it; nobody waits longer than once for the store."""
    reads = await asyncio.gather(*(client.ask(number % 2, "GET", WORKS) for number in range(40)))
    assert {answer.status for answer in reads} == {200}
    assert max(answer.seconds for answer in reads) < SECONDS_MAX
    calm = [await client.ask(number % 2, "GET", WORKS) for number in range(20)]
    assert sorted(answer.seconds for answer in calm)[len(calm) // 2] < STORE_WAIT_SECONDS / 2
    async with Person(lambda: client.rig.url) as person:
        person.token, person.user_id = client.person.token, client.person.user_id
        person.listen()
        async with asyncio.timeout(SECONDS_MAX):
            photo_url = await person.upload()
            async with person.http.get(photo_url) as photo:
                assert (photo.status, photo.content_type) == (200, "image/jpeg")
        made = [await client.ask(gateway, "POST", CREATE, body=client.wish()) for gateway in (0, 1, 0)]
        assert [answer.status for answer in made] == [200] * 3
        assert max(answer.seconds for answer in made) < SECONDS_MAX
        await person.heard({answer.data["data"]["task_id"] for answer in made}, seconds=60)


async def logins_are_limited(guesser: Client, gateway: int) -> None:
    """This gateway counts alone; who asks from elsewhere gets in."""
    guesses = [await guesser.wrong_login(gateway) for _ in range(LOGINS_MAX + 2)]
    assert [(guess.status, guess.code) for guess in guesses] == [(401, "20001")] * LOGINS_MAX + [(429, "10004")] * 2
    assert [guess.left("login") for guess in guesses] == [*range(LOGINS_MAX - 1, -1, -1), 0, 0]
    assert 800 < int(guesses[-1].headers["Retry-After"]) <= 900
    assert max(guess.seconds for guess in guesses) < SECONDS_MAX
    person = guesser.person
    body = orjson.dumps({"email": f"{person.name}@people.example", "password": "correct horse battery"})
    assert (await Client(guesser.rig, person).ask(gateway, "POST", "/login", body=body)).status == 200


async def signed_changes_wait(client: Client) -> tuple[str, bytes, dict[str, str]]:
    """Refused with 503 and no effect, while signed reads pass, each once per gateway; answers one that was refused."""
    wish = client.wish()
    kept = sign("POST", CREATE, wish)
    recharge = orjson.dumps({"package_id": "basic", "payment_method": "wechat"})
    large = wish[:-1] + b',"parameters":{"note":"' + b"x" * 10_000 + b'"}}'
    changes = [(CREATE, wish, kept), (CREATE, large, sign("POST", CREATE, large)), ("/api/credits/recharge", recharge, None)]
    for gateway in (0, 1):
        for target, body, headers in changes:
            refused = await client.ask(gateway, "POST", target, body=body, headers=headers or sign("POST", target, body))
            assert (refused.status, refused.code) == (503, "10007")
            assert 1 <= int(refused.headers["Retry-After"]) <= 10
            assert refused.data["success"] is False
            assert refused.seconds < SECONDS_MAX
        read = sign("GET", WORKS)
        assert [(await client.ask(gateway, "GET", WORKS, headers=read)).status for _ in range(2)] == [200, 401]
    return CREATE, wish, kept
