"""Everything odd that can be said to every public route there is: broken bodies, wrong fields, odd queries, ids, keys and forms."""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from multidict import CIMultiDict

from common.objects import UrlSigner
from lab.hostile import Answer, Case, Expected, bodies, judge, pictures, wire
from lab.hostile.onslaught import AT_ONCE
from lab.hostile.samples import Cast, lessons
from lab.hostile.stage import Stage, all_well, stage_running
from lab.hostile.targets import PLAIN, PUBLIC, Found
from lab.hostile.verdict import ANYTHING, INVALID, NOT_FOUND, REFUSED

REFUSED_FILE = Expected((400, 413, 415, 422), (10001, 30001, 60001, 60002, 60003))
TOO_LARGE = Expected((413,))
REFUSAL_SECONDS_MAX = 2
TAUGHT = lessons(Cast())
READ_AS_JSON = tuple(found for found in PLAIN if (lesson := TAUGHT.get(str(found))) is not None and lesson.body is not None)
UNREAD = tuple(found for found in PLAIN if found.route.method != "GET" and found not in READ_AS_JSON)
ODD_HEADERS: dict[str, tuple[str, ...]] = {
    "If-Match": ('"x"', "*", "9" * 5000, '"99999999999999999999-x"', "é", 'W/"1"'),
    "If-None-Match": ("x" * 5000, "*", '"', "é, é"),
    "Accept-Language": ("x" * 5000, ";q=", "zh;q=nan, en;q=9e999", "é", ",,,,"),
    "Accept": ("~", "application/problem+json;q=é", "x" * 5000),
    "Range": ("bytes=9-1", "é", "bytes=" + "9" * 5000 + "-"),
    "X-LC-Id": ("é" * 300,),
    "X-Request-Id": ("é", "x" * 5000, "a b"),
    "traceparent": ("00-0-0-0", "é" * 55),
    "X-Darkroom-Attempt-Token": ("é", "x" * 5000),
    "Sandbox-Signature": ("é", ""),
    "Content-Type": ("é", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 500, "application/json; charset=é"),
}


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage_running(tmp_path_factory.mktemp("hostile")) as stage:
        yield stage


def test_every_public_route_is_taught() -> None:
    assert {str(found) for found in PUBLIC} - set(TAUGHT) == set(), "lab/hostile/samples.py says how each route is used well; these it does not know"
    assert set(TAUGHT) - {str(found) for found in PUBLIC} == set(), "there are no such routes"
    for found in PUBLIC:
        lesson = TAUGHT[str(found)]
        assert lesson.body is not None or found.route.body is None, f"{found}: a good body is missing"
        if lesson.body is not None:
            assert found.model is not None, found
            assert set(lesson.body) == set(found.model.model_fields), f"{found}: the sample shows every field"
            found.model.model_validate_json(json.dumps(lesson.body))


# JSON


@pytest.mark.parametrize("found", READ_AS_JSON, ids=str)
async def test_broken_json_is_refused_whatever_is_broken(stage: Stage, found: Found) -> None:
    sample = stage.lesson(found, INVALID).body
    assert sample is not None
    cases = [stage.case(name, found, expected=INVALID if len(body) <= found.bytes_max else TOO_LARGE, body=body) for name, body in bodies.broken_json(sample)]
    if found.route.body is not None:  # who reads a body alone does not mind what it says it is
        for name, headers, body, expected in bodies.encoded_bodies(sample, min(found.route.body_bytes_max, found.bytes_max)):
            cases.append(stage.case(name, found, expected=expected, headers=headers, body=body))
    all_well(await stage.attacker.wrongs(cases))


@pytest.mark.parametrize("found", READ_AS_JSON, ids=str)
async def test_wrong_and_missing_fields_are_named(stage: Stage, found: Found) -> None:
    model, cases = found.model, []
    assert model is not None
    for right in (INVALID, ANYTHING):
        sample = stage.lesson(found, right).body
        assert sample is not None
        for name, body, expected in bodies.wrong_fields(model, sample):
            if expected.is_refusal is right.is_refusal:
                cases.append(stage.case(name, found, expected=expected, body=body))
    all_well(await stage.attacker.wrongs(cases))


async def test_what_is_sent_to_a_route_that_takes_no_json_does_no_harm(stage: Stage) -> None:
    odd = {"broken": b"{", "deep": b"[" * 100_000, "bytes": bytes(range(256)), "a form": b"decision=%FF&decision=pay%00&=", "much": b"x" * 200_000}
    cases = [
        stage.case(name, found, expected=ANYTHING, headers=headers, body=body)
        for found in UNREAD
        for name, body in odd.items()
        for headers in ({}, {"Content-Type": "application/x-www-form-urlencoded"})
    ]
    all_well(await stage.attacker.wrongs(cases))


async def test_bodies_over_the_limit_are_refused_by_their_length_alone(stage: Stage) -> None:
    free = asyncio.Semaphore(AT_ONCE)

    async def one(found: Found) -> list[str]:
        target, said = found.target(), stage.auth_for(found, TOO_LARGE)["Authorization"]
        head = f"Authorization: {said}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {found.bytes_max + 1}"
        async with free:
            answers = await wire.talk(stage.rig.url, [f"{found.route.method} {target} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode(), b"{"])
        case = Case("declared", found.route.method, target, expected=TOO_LARGE)
        return [f"{found}: {len(answers)} answers"] if len(answers) != 1 else judge(case, answers[0])

    wrong = await asyncio.gather(*(one(found) for found in PLAIN if found.route.method in ("POST", "PUT")))
    all_well([sentence for sentences in wrong for sentence in sentences])


# queries, paths and headers


async def test_odd_queries_are_refused_or_capped(stage: Stage) -> None:
    cases = []
    for place, found in enumerate(PLAIN):
        model, path = found.route.query, found.target()
        if model is None:  # nobody reads it, so a few will do
            values = bodies.QUERY_VALUES[place % 4 :: 4]
            cases += [stage.case(value[:20], found, target=f"{path}?x={value}", expected=ANYTHING) for value in values]
            continue
        for name, query, expected in bodies.odd_queries(model):
            # What is asked of an unknown thing is refused for that, where the query alone would pass.
            statuses = {*expected.statuses, 404} if found.has_params and 200 in expected.statuses else expected.statuses
            needs_more = found.has_params and any(one.is_required() for one in model.model_fields.values())
            right = REFUSED if needs_more else Expected(tuple(statuses), expected.codes, expected.field)
            cases.append(stage.case(name, found, target=f"{path}?{query}", expected=right))
    all_well(await stage.attacker.wrongs(cases))


async def test_odd_ids_are_answered_like_unknown_ones(stage: Stage) -> None:
    with_ids = [found for found in PLAIN if found.has_params]
    assert len(with_ids) >= 25
    cases = [
        stage.case(
            value[:30],
            found,
            target=stage.target(found, value),
            body=stage.body(found),
            expected=NOT_FOUND if len(value) < 8000 else Expected((400, 404, 414)),
        )
        for found in with_ids
        for value in bodies.ODD_IDS
    ]
    all_well(await stage.attacker.wrongs(cases))


async def test_odd_headers_are_refused_or_harmless(stage: Stage) -> None:
    odd = [(name, value) for name, values in ODD_HEADERS.items() for value in values]
    cases = [
        stage.case(f"{name}: {value[:20]}", found, body=stage.body(found), headers={name: value}, expected=ANYTHING)
        for place, found in enumerate(PLAIN)
        for number, (name, value) in enumerate(odd)
        if (place + number) % 3 == 0  # each route meets every third of them, each of them every third route
    ]
    all_well(await stage.attacker.wrongs(cases))


async def test_odd_idempotency_keys_are_refused_or_harmless(stage: Stage) -> None:
    cases = []
    for found in PLAIN:
        body = stage.body(found)
        if not found.route.keyed or body is None:
            continue
        for key in ("", " ", '""', "x" * 256, '"' + "x" * 256 + '"', "é"):
            cases.append(stage.case(f"key {key[:10]!r}", found, expected=INVALID, headers={"Idempotency-Key": key}, body=stage.body(found, INVALID)))
        for key in ("x" * 255, '"', "'; DROP TABLE task; --", "../..", "%00", '"a', "a, b", "*"):
            cases.append(stage.case(f"key {key[:10]!r}", found, expected=ANYTHING, headers={"Idempotency-Key": key}, body=body))
        twice = CIMultiDict([*stage.auth_for(found, INVALID).items(), ("Content-Type", "application/json"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
        cases.append(Case("two keys", found.route.method, stage.target(found, expected=INVALID), twice, stage.body(found, INVALID), INVALID))
    assert len(cases) > 100
    all_well(await stage.attacker.wrongs(cases))


async def test_a_key_used_for_something_else_is_refused_and_belongs_to_its_user(stage: Stage) -> None:
    headers = {**stage.auth, **bodies.JSON_HEADERS, "Idempotency-Key": "one"}
    first = await stage.attacker.ask(Case("first", "POST", "/works", headers, b'{"title": "a"}'))
    assert first.status == 201
    other = Case("other body", "POST", "/works", headers, b'{"title": "b"}', Expected((422,), (10006,)))
    all_well(await stage.attacker.wrongs([other]))
    again = await stage.attacker.ask(Case("again", "POST", "/works", headers, b'{"title": "a"}'))
    assert (again.status, again.json()["objectId"], again.headers["idempotent-replayed"]) == (201, first.json()["objectId"], "true")


# files


async def test_what_is_no_picture_is_kept_by_no_route(stage: Stage) -> None:
    cases = []
    for number, (name, content) in enumerate(pictures.refused().items()):
        auth, data_url = stage.clumsy_auth, f"data:image/png;base64,{b64encode(content).decode()}"
        upload = bodies.form([bodies.picture_part("file", content)])
        work = bodies.form([bodies.field_part("title", b"x"), bodies.picture_part("image", content)])
        cases.append(Case(name, "POST", "/api/upload/single", {**auth, **bodies.FORM_HEADERS}, upload, REFUSED_FILE))
        if number % 3 == 0:  # decoded by the same hands as an upload
            several = bodies.form([bodies.picture_part("files", pictures.png()), bodies.picture_part("files", content)])
            cases.append(Case(name, "POST", "/api/upload/multiple", {**auth, **bodies.FORM_HEADERS}, several, REFUSED_FILE))
            for path, text in (("/api/upload/base64", {"base64": data_url}), ("/api/upload/base64/batch", {"images": [data_url, data_url]})):
                cases.append(Case(name, "POST", path, {**auth, **bodies.JSON_HEADERS}, json.dumps(text).encode(), REFUSED_FILE))
            cases.append(Case(name, "POST", "/works", {**auth, **bodies.FORM_HEADERS}, work, REFUSED_FILE))
            cases.append(Case(name, "POST", "/works", {**auth, **bodies.JSON_HEADERS}, json.dumps({"title": "x", "image": data_url}).encode(), REFUSED_FILE))
        task = {"type": "travel", "images": [data_url], "scene_id": "beach-sunset"}
        cases.append(Case(name, "POST", "/api/tasks/create", {**auth, **bodies.JSON_HEADERS}, json.dumps(task).encode(), REFUSED_FILE))
    all_well(await stage.attacker.wrongs(cases))


async def test_a_bomb_is_refused_at_once(stage: Stage) -> None:
    bomb = pictures.refused()["30000 x 30000 PNG"]
    data_url = f"data:image/png;base64,{b64encode(bomb).decode()}"
    task = json.dumps({"type": "travel", "images": [data_url], "scene_id": "beach-sunset"}).encode()
    work = json.dumps({"title": "x", "image": data_url}).encode()
    upload = bodies.form([bodies.picture_part("file", bomb)])
    for path, headers, body in (
        ("/api/upload/single", bodies.FORM_HEADERS, upload),
        ("/api/upload/base64", bodies.JSON_HEADERS, json.dumps({"base64": data_url}).encode()),
        ("/works", bodies.JSON_HEADERS, work),
        ("/api/tasks/create", bodies.JSON_HEADERS, task),
    ):
        case = Case("a bomb", "POST", path, {**stage.clumsy_auth, **headers}, body, REFUSED_FILE)
        answers = [await stage.attacker.ask(case) for _ in range(3)]
        assert [sentence for answer in answers for sentence in judge(case, answer)] == []
        # The quickest of three, because other tests may have the machine at any one moment.
        assert min(answer.seconds for answer in answers) < REFUSAL_SECONDS_MAX, path


async def test_what_is_kept_is_the_picture_and_nothing_else(stage: Stage) -> None:
    for content, kind in ((pictures.polyglot(), "image/png"), (pictures.jpeg_with_gps(), "image/jpeg")):
        body = bodies.form([bodies.picture_part("file", content, filename="x.html", kind="text/html")])
        answer = await stage.attacker.ask(Case("a picture and more", "POST", "/api/upload/single", {**stage.auth, **bodies.FORM_HEADERS}, body))
        assert answer.status == 200, answer.body
        file = answer.json()["data"]
        kept = await stage.attacker.ask(Case("the file", "GET", file["file_url"].removeprefix(stage.rig.url)))
        assert kept.headers["content-type"] == kind == file["mime_type"]
        assert kept.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in kept.headers["content-security-policy"]
        for trace in (pictures.SECRET, b"PK\x03\x04", b"Exif", b"GPS", b"x.html"):
            assert trace not in kept.body


async def test_names_of_files_are_ours(stage: Stage) -> None:
    def named_by_us(case: Case, answer: Answer) -> Iterator[str]:
        yield from judge(case, answer)
        if answer.status == 200:
            file = answer.json()["data"]
            if not re.fullmatch(r"[0-9a-f]{64}\.png", file["file_name"]) or not re.fullmatch(r"uploads/[0-9a-f-]{36}/[0-9a-f]{64}\.png", file["file_path"]):
                yield f"{case}: kept as {file}"

    parts = [bodies.picture_part("file", pictures.png(), filename=name) for name in pictures.FILE_NAMES]
    parts += [
        bodies.picture_part("file", pictures.png(), kind=kind)
        for kind in ("text/html", "", "image/svg+xml", "x" * 3000, "image/png\r\nContent-Encoding: identity")
    ]
    parts += [("Content-Disposition: form-data; name=file; filename*=utf-8''%2e%2e%2f%00x.png\r\nContent-Type: image/png", pictures.png())]
    cases = [Case("a name", "POST", "/api/upload/single", {**stage.auth, **bodies.FORM_HEADERS}, bodies.form([part]), Expected((200, 400))) for part in parts]
    all_well(await stage.attacker.wrongs(cases, look=named_by_us))


async def test_broken_forms_are_refused(stage: Stage) -> None:
    cases = []
    for path, field in (("/api/upload/single", "file"), ("/api/upload/multiple", "files")):
        for name, headers, body in bodies.broken_forms(field, pictures.png()):
            right, auth = (ANYTHING, stage.auth) if (field, name) == ("files", "twice") else (REFUSED, stage.clumsy_auth)
            cases.append(Case(name, "POST", path, {**auth, **headers}, body, right))
    for path, field, before in (
        ("/api/upload/single", "file", []),
        ("/api/upload/multiple", "files", []),
        ("/works", "image", [bodies.field_part("title", b"x")]),
    ):
        for name, body in bodies.spoilt_forms(field, before, pictures.png(40, colour="teal")):
            cases.append(Case(f"a good file, {name}", "POST", path, {**stage.clumsy_auth, **bodies.FORM_HEADERS}, body, REFUSED))
    for path, fields in (
        ("/works", [("title", b"x")]),
        ("/users", [("username", b"x"), ("email", f"{stage.victim.name}@people.example".encode()), ("password", b"correct horse battery")]),
    ):
        for name, headers, body in bodies.broken_forms("image", pictures.png()):
            cases.append(Case(name, "POST", path, {**stage.clumsy_auth, **headers}, body, REFUSED))
        for name, _ in fields:
            for value in (b"\x00", b"a\x00b", b"\xff\xfe", b"\xed\xa0\x80", b"x" * 70_000):
                parts = [bodies.field_part(other, value if other == name else good) for other, good in fields]
                cases.append(Case(f"{name} is {value[:6]!r}", "POST", path, {**stage.clumsy_auth, **bodies.FORM_HEADERS}, bodies.form(parts), REFUSED))
    for name, part in {
        "base64 that is none": bodies.picture_part("file", b"@@@", more="\r\nContent-Transfer-Encoding: base64"),
        "gzip that is none": bodies.picture_part("file", b"@@@", more="\r\nContent-Encoding: gzip"),
        "brotli that is none": bodies.picture_part("file", b"@@@", more="\r\nContent-Encoding: br"),
        "quoted-printable that is none": bodies.picture_part("file", b"=zz=", more="\r\nContent-Transfer-Encoding: quoted-printable"),
    }.items():
        cases.append(Case(name, "POST", "/api/upload/single", {**stage.clumsy_auth, **bodies.FORM_HEADERS}, bodies.form([part]), REFUSED))
    for name, body in bodies.lenient_forms("file", pictures.png()):
        cases.append(Case(name, "POST", "/api/upload/single", {**stage.auth, **bodies.FORM_HEADERS}, body, ANYTHING))
    for tags in (b'["\\u0000"]', b'["a", "b\\u0000"]', b"[" * 5000, b'[["x"]]', b"[1]", b'["' + b"x" * 60 + b'"]'):
        parts = [bodies.field_part("title", b"x"), bodies.field_part("tags", tags)]
        cases.append(Case(f"tags {tags[:20]!r}", "POST", "/works", {**stage.clumsy_auth, **bodies.FORM_HEADERS}, bodies.form(parts), REFUSED))
    all_well(await stage.attacker.wrongs(cases))


async def test_text_that_is_no_picture_is_kept_by_no_route(stage: Stage) -> None:
    cases = []
    for image in bodies.IMAGES:
        for path, said in (("/api/upload/base64", {"base64": image}), ("/api/upload/base64/batch", {"images": [image, image]})):
            cases.append(Case(f"{image[:40]!r}", "POST", path, {**stage.clumsy_auth, **bodies.JSON_HEADERS}, json.dumps(said).encode(), REFUSED_FILE))
        scene = next(found for found in PLAIN if str(found) == "POST /api/scenes")
        cover = json.dumps({**(stage.lesson(scene).body or {}), "cover_image": image}).encode()
        refused = image.strip() and not image.startswith("https://")
        cases.append(stage.case(f"cover {image[:40]!r}", scene, expected=INVALID if refused else ANYTHING, body=cover))
    all_well(await stage.attacker.wrongs(cases))


async def test_a_task_takes_pictures_of_ones_own_and_nothing_from_elsewhere(stage: Stage) -> None:
    create = next(found for found in PLAIN if found.route.path == "/api/tasks/create")
    cases = []
    for image in bodies.IMAGES:
        for images in ([image], [stage.clumsy.photo_url, image]):
            body = json.dumps({**(stage.lesson(create, REFUSED_FILE).body or {}), "images": images}).encode()
            cases.append(stage.case(f"image {image[:40]!r}", create, expected=REFUSED_FILE, body=body))
        cases.append(
            Case(
                f"work of {image[:40]!r}",
                "POST",
                "/works",
                {**(stage.clumsy_auth if image else stage.auth), **bodies.JSON_HEADERS},
                json.dumps({"title": "x", "image": image}).encode(),
                REFUSED_FILE if image else ANYTHING,
            )
        )
        body = json.dumps({"username": "x", "email": f"{stage.victim.name}@people.example", "password": "correct horse battery", "avatar": image}).encode()
        if image.strip():
            cases.append(Case(f"avatar {image[:40]!r}", "POST", "/users", bodies.JSON_HEADERS, body, Expected((400, 409), (10001, 10005))))
    signer, then = UrlSigner(stage.rig.home.secret("files"), stage.rig.url), datetime.now(UTC) - timedelta(hours=3)
    for whose, person, expected in (("another's", stage.victim, INVALID), ("an old one of one's own", stage.thief, Expected((400,), (40000,)))):
        key = person.photo_url.partition("/files/")[2].partition("?")[0]
        body = json.dumps({**(stage.lesson(create).body or {}), "images": [signer.sign(key, now=then)]}).encode()
        # The thief has nothing to pay with, so neither is granted.
        cases.append(stage.case(f"a link that ended, {whose}", create, expected=expected, headers=stage.auth, body=body))
    all_well(await stage.attacker.wrongs(cases))


# and then


async def test_after_all_that_nothing_changed_that_must_not_and_nothing_of_ours_broke(stage: Stage) -> None:
    assert await stage.harm() == []
