"""The pages people see, in a real browser at a phone's width: used as they are meant, nothing asked of anybody else, nothing complained of."""

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from common.ids import new_id
from lab.people import Person
from lab.rig import Rig, rig_running

pytestmark = pytest.mark.browser

PHONE = {"width": 360, "height": 740}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MILLISECONDS_MAX = 60_000
WIDE = "width => [...document.querySelectorAll('*')].filter(one => one.getBoundingClientRect().right > width).slice(0, 5).map(one => one.className)"
METHODS = {"get", "post", "put", "patch", "delete", "head"}
REFUSED = re.compile(r"Failed to load resource: the server responded with a status of 401")


@dataclass
class Watched:
    """A page, whom it asked, and what the browser complained of."""

    page: Page
    asked: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("request", lambda request: self.asked.add(_origin(request.url)))
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"{request.url}: {request.failure}"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} ({message.location['url']})")

    async def fits(self) -> None:
        """Everything is within the width of the screen, which shows it at its own size."""
        widths = await self.page.evaluate("[window.innerWidth, document.documentElement.scrollWidth]")
        wide = await self.page.evaluate(WIDE, PHONE["width"])
        assert widths == [PHONE["width"], PHONE["width"]], f"{self.page.url} is {widths} wide: {wide}"

    async def settled(self) -> None:
        await self.page.wait_for_load_state("networkidle", timeout=MILLISECONDS_MAX)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https", "ws", "wss") else parts.scheme


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A browser of the machine's own."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs a real browser (chromium)", pytrace=False)
        pytest.skip("there is no chromium on this machine")
    # As root it cannot build its sandbox; it sees nothing here but pages of ours.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    expect.set_options(timeout=MILLISECONDS_MAX)
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=program, args=options)
        yield opened
        await opened.close()


@pytest.fixture(scope="module")
async def rig(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with rig_running(tmp_path_factory.mktemp("pages"), "--provider", "instant", env={"DARKROOM_LOG_LEVEL": "warning"}) as running:
        yield running


@pytest.fixture
async def person(rig: Rig) -> AsyncIterator[Person]:
    async with Person(lambda: rig.url) as somebody:
        await somebody.sign_up()
        yield somebody


@asynccontextmanager
async def watched(browser: Browser, rig: Rig, *, locale: str = "en-GB") -> AsyncIterator[Watched]:
    """A fresh phone; at the end, whatever was done on it, it asked nobody but the suite, and nothing was complained of."""
    async with await browser.new_context(locale=locale, viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2) as context:
        context.set_default_timeout(MILLISECONDS_MAX)
        seen = Watched(await context.new_page())
        seen.listen()
        yield seen
        await seen.settled()
        ours = {rig.url, rig.environment["DARKROOM_MAILBOX_URL"], "data", "blob"}
        assert seen.asked - ours == set()
        assert seen.complaints == []


async def newest_mail(seen: Watched, rig: Rig, address: str) -> None:
    """Open the mailbox page and the newest mail to an address."""
    page = seen.page
    mails = page.get_by_role("listitem").filter(has_text=address)
    for _ in range(100):
        await page.goto(rig.environment["DARKROOM_MAILBOX_URL"])
        if await mails.count():
            break
        await page.wait_for_timeout(100)
    await seen.fits()
    await mails.first.get_by_role("link").click()
    await expect(page.get_by_text(address)).to_be_visible()
    await seen.fits()


async def test_a_mail_leads_from_the_mailbox_page_to_a_verified_address(browser: Browser, rig: Rig, person: Person) -> None:
    async with watched(browser, rig) as seen:
        page = seen.page
        await newest_mail(seen, rig, f"{person.name}@people.example")
        await page.locator('a[href*="/v1/email-verifications"]').click()
        await expect(page.get_by_role("heading", name="Your e-mail address")).to_be_visible()
        assert urlsplit(page.url).fragment == "", "the token does not stay in the address bar"
        await seen.fits()
        await page.get_by_role("button", name="It is mine").click()
        await expect(page.get_by_role("status")).to_have_text("The address is verified.")
        await expect(page.get_by_role("button")).to_be_hidden()
        await seen.fits()
    status, me = await login(rig, person, "correct horse battery")
    assert (status, me["emailVerified"]) == (200, True)


async def test_a_new_password_is_set_on_its_page_once(browser: Browser, rig: Rig, person: Person) -> None:
    address = f"{person.name}@people.example"
    assert (await person.call("POST", "/requestPasswordReset", json={"email": address}, patient=False))[0] == 200
    async with watched(browser, rig) as seen:
        page = seen.page
        for _ in range(50):
            await newest_mail(seen, rig, address)
            if await page.locator('a[href*="/v1/password-resets"]').count():
                break
        link = await page.locator('a[href*="/v1/password-resets"]').get_attribute("href")
        assert link is not None
        await page.goto(link)
        await seen.fits()
        await page.get_by_label("New password").fill("another battery")
        await page.get_by_label("The same again").fill("another batery")
        await page.get_by_role("button", name="Set the password").click()
        await expect(page.get_by_role("status")).to_have_text("The two are not the same.")
        await page.get_by_label("The same again").fill("another battery")
        # The answer is read to its end before the page is left: else the browser tells of a request that was broken off.
        async with page.expect_event("requestfinished", lambda request: request.url.endswith("/v1/password-resets")):
            await page.get_by_role("button", name="Set the password").click()
        await expect(page.get_by_role("status")).to_have_text("The password is set. Please log in again.")
        await seen.fits()
        await page.goto("about:blank")
        await page.goto(link)
        await page.get_by_label("New password").fill("a third battery")
        await page.get_by_label("The same again").fill("a third battery")
        await page.get_by_role("button", name="Set the password").click()
        await expect(page.get_by_role("status")).to_contain_text("This link was used")
        assert [one for one in seen.complaints if not REFUSED.match(one)] == []
        seen.complaints.clear()
    passwords = ("correct horse battery", "another battery", "a third battery")
    assert [(await login(rig, person, password))[0] for password in passwords] == [401, 200, 401]


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("en-GB", ("Sandbox payment", "Waiting for your payment", "Decline", "Declined; you may still pay", "Pay", "Paid")),
        ("zh-CN", ("沙盒支付", "等待支付", "取消支付", "已取消支付，仍可再次支付", "支付", "支付成功")),
    ],
)
async def test_an_order_is_declined_and_paid_on_the_pay_page(browser: Browser, rig: Rig, person: Person, locale: str, words: tuple[str, ...]) -> None:
    title, waits, decline, declined, pay, paid = words
    wish = {"package_id": "basic", "payment_method": "wechat"}
    _, order = await person.call("POST", "/api/credits/recharge", json=wish, key=str(new_id()))
    async with watched(browser, rig, locale=locale) as seen:
        page = seen.page
        await page.goto(order["data"]["payment_params"]["pay_url"])
        await expect(page.get_by_role("heading", name=title)).to_be_visible()
        await expect(page.get_by_text("9.90 CNY")).to_be_visible()
        await expect(page.get_by_text(order["data"]["order_no"])).to_be_visible()
        await expect(page.get_by_role("status")).to_have_text(waits)
        await seen.fits()
        await page.get_by_role("button", name=decline, exact=True).click()
        await expect(page.get_by_role("status")).to_have_text(declined)
        assert await person.balance() == 10
        await page.get_by_role("button", name=pay, exact=True).click()
        await expect(page.get_by_role("status")).to_have_text(paid)
        await expect(page.get_by_role("button")).to_have_count(0)
        await seen.fits()
        await page.reload()  # sends the form again
        await expect(page.get_by_role("status")).to_have_text(paid)
    assert await person.balance() == 110


async def test_the_documentation_lists_every_chapter_and_tries_a_route_out(browser: Browser, rig: Rig) -> None:
    async with aiohttp.ClientSession() as http, http.get(rig.url + "/openapi.json") as answer:
        document = await answer.json()
    tags = [operation["tags"][0] for path in document["paths"].values() for method, operation in path.items() if method in METHODS]
    assert len(tags) > 90
    [tag] = document["paths"]["/api/scenes"]["get"]["tags"]
    async with watched(browser, rig) as seen:
        page = seen.page
        await page.goto(rig.url + "/docs")
        await expect(page.get_by_role("heading", name=document["info"]["title"])).to_be_visible()
        await expect(page.locator(".opblock-tag")).to_have_count(len(set(tags)))
        await seen.fits()
        await page.locator(f'.opblock-tag[data-tag="{tag}"]').click()
        await expect(page.locator(".opblock")).to_have_count(tags.count(tag))
        scenes = page.locator(".opblock-get").filter(has=page.locator('[data-path="/api/scenes"]'))
        await scenes.locator(".opblock-summary").click()
        await scenes.get_by_role("button", name="Execute").click()
        await expect(scenes.locator(".live-responses-table tbody .response-col_status")).to_contain_text("200")
        await expect(scenes.locator(".live-responses-table")).to_contain_text("beach-sunset")
        await seen.fits()


async def login(rig: Rig, person: Person, password: str) -> tuple[int, dict[str, Any]]:
    body = {"email": f"{person.name}@people.example", "password": password}
    async with aiohttp.ClientSession() as http, http.post(rig.url + "/login", json=body) as answer:
        return answer.status, await answer.json()
