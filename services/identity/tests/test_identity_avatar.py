"""The picture that comes with a sign-up."""

import base64
import io
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
import pytest

from common.ids import UserId, new_id
from common.objects import UrlSigner

ADA = {"username": "ada", "email": "ada@darkroom.example", "password": "correct horse"}
PICTURE = b"\x89PNG\r\n\x1a\n and so on"
DATA_URL = "data:image/png;base64," + base64.b64encode(PICTURE).decode()


async def test_a_data_url_is_kept_by_works_for_the_new_account(identity: Any, works: Any) -> None:
    status, _, user = await identity.ask("POST", "/users", json={**ADA, "avatar": DATA_URL})
    assert status == 201
    [ask] = works.asked
    assert (ask["user_id"], ask["content"], ask["key"], ask["field"]) == (user["objectId"], DATA_URL, None, "avatar")
    assert f"/files/uploads/{user['objectId']}/" in user["avatar"]


async def test_a_picture_in_a_form_is_kept_as_well(identity: Any, works: Any) -> None:
    form = aiohttp.FormData(ADA)
    form.add_field("avatar", PICTURE, filename="me.png", content_type="image/png")
    status, _, user = await identity.ask("POST", "/users", data=form)
    assert status == 201
    assert base64.b64decode(works.asked[0]["content"].partition(",")[2]) == PICTURE
    assert f"/files/uploads/{user['objectId']}/" in user["avatar"]


@pytest.mark.parametrize(("code", "status"), [(60001, 413), (60002, 415), (60003, 400), (10007, 503)], ids=["large", "type", "bad", "away"])
async def test_what_works_refuses_opens_no_account(identity: Any, works: Any, sql: Any, code: int, status: int) -> None:
    works.refusal = (status, {"code": code, "detail": "no"})
    answered, headers, _ = await identity.ask("POST", "/users", json={**ADA, "avatar": DATA_URL})
    assert (answered, headers["X-Error-Code"]) == (status, str(code))
    assert await sql("SELECT 1 FROM person") == []


@pytest.mark.parametrize("size_bytes", [300, 300_000])
async def test_a_picture_under_another_name_is_told_the_right_one(identity: Any, works: Any, sql: Any, size_bytes: int) -> None:
    form = aiohttp.FormData(ADA)
    form.add_field("photo", io.BytesIO(b"\xff" * size_bytes), filename="me.jpg", content_type="image/jpeg")
    status, headers, error = await identity.ask("POST", "/users", data=form)
    assert (status, headers["X-Error-Code"], error["details"]["errors"][0]["field"]) == (400, "10001", "avatar")
    assert "'photo'" in error["details"]["errors"][0]["message"]
    assert (works.asked, await sql("SELECT 1 FROM person")) == ([], [])


async def test_a_picture_past_ten_mebibytes_is_refused_before_works_hears_of_it(identity: Any, works: Any) -> None:
    form = aiohttp.FormData(ADA)
    form.add_field("avatar", io.BytesIO(b"\xff" * (10 * 1024**2 + 1)), filename="me.jpg", content_type="image/jpeg")
    status, headers, _ = await identity.ask("POST", "/users", data=form)
    assert (status, headers["X-Error-Code"]) == (413, "60001")
    assert works.asked == []


async def test_a_data_url_past_ten_mebibytes_is_refused_as_too_large(identity: Any, works: Any) -> None:
    body = orjson.dumps({**ADA, "avatar": "data:image/png;base64," + "A" * (14 * 1024**2)})
    status, headers, _ = await identity.ask("POST", "/users", data=io.BytesIO(body), headers={"Content-Type": "application/json"})
    assert (status, headers["X-Error-Code"]) == (413, "60001")
    assert works.asked == []


async def test_a_link_is_taken_only_from_whose_upload_it_is(identity: Any, works: Any, environment: dict[str, str]) -> None:
    signer = UrlSigner(environment["DARKROOM_FILES_SECRET"], "http://127.0.0.1:8080")
    eve = await identity.sign_up("eve@darkroom.example")
    own, others = (f"uploads/{owner}/{'cd' * 32}.png" for owner in (eve["objectId"], UserId(new_id())))
    token = {"Authorization": f"Bearer {eve['sessionToken']}"}
    for link, headers in [
        (signer.sign(others, now=datetime.now(UTC)), {}),
        (signer.sign(others, now=datetime.now(UTC)), token),
        (signer.sign(own, now=datetime.now(UTC)), {}),
        (signer.sign(own, now=datetime.now(UTC)), {"Authorization": "Bearer not.a.token"}),
        ("https://elsewhere.example/me.png", token),
        ("http://127.0.0.1/files/" + own, token),
    ]:
        status, _, error = await identity.ask("POST", "/users", json={**ADA, "avatar": link}, headers=headers)
        assert (status, error["code"], error["details"]["errors"][0]["field"]) == (400, 10001, "avatar"), link
    assert works.asked == []
    status, _, user = await identity.ask("POST", "/users", json={**ADA, "avatar": signer.sign(own, now=datetime.now(UTC))}, headers=token)
    assert status == 201
    assert (works.asked[0]["key"], works.asked[0]["content"]) == (own, None)
    assert user["objectId"] in user["avatar"]


async def test_a_taken_address_costs_no_picture(identity: Any, works: Any) -> None:
    await identity.sign_up(ADA["email"])
    status, _, _ = await identity.ask("POST", "/users", json={**ADA, "avatar": DATA_URL})
    assert status == 409
    assert works.asked == []


async def test_a_repeated_sign_up_keeps_one_picture(identity: Any, works: Any) -> None:
    asks = [await identity.ask("POST", "/users", json={**ADA, "avatar": DATA_URL}, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [status for status, _, _ in asks] == [201, 201]
    assert len({ask["file_id"] for ask in works.asked}) == 1
