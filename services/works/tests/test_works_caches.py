"""Reads that need not be sent again, who may keep them for how long, and a gallery that is walked while works come in."""

import re
from typing import Any
from uuid import UUID

import pytest

from common.events import UserUpdated, WorkLiked
from common.ids import new_id
from works import consumers, upkeep
from works.caches import PublicWorks, Remembered

OTHERS_LINK_SECONDS = 300


def test_what_was_read_before_a_change_is_not_remembered() -> None:
    kept = Remembered[str, int](seconds=60, values_max=2)
    begun = kept.begin()
    kept.drop("another")
    kept.put("one", 1, begun)
    assert kept.get("one") is None
    kept.put("one", 1, kept.begin())
    assert kept.get("one") == 1


async def published(works: Any, facts: Any, owner: UUID, *, minutes: float = 0) -> UUID:
    """A finished work that everybody sees."""
    task_id = new_id()
    await works.tell(facts.created(task_id, owner, minutes=minutes), facts.completed(task_id, owner, minutes=minutes + 1))
    assert (await works.ask("PUT", f"/api/works/{task_id}", user=owner, json={"is_public": True}))[0] == 200
    return task_id


@pytest.mark.parametrize("path", ["/v1/gallery", "/works", "/api/works", "/works/{}", "/api/works/{}"])
async def test_what_everybody_sees_is_for_caches_on_the_way_and_is_not_sent_twice(works: Any, facts: Any, path: str) -> None:
    owner = new_id()
    path = path.format(await published(works, facts, owner))
    status, headers, _ = await works.ask("GET", path)
    assert status == 200
    kept = dict(re.findall(r"([a-z-]+)=(\d+)", headers["Cache-Control"]))
    assert headers["Cache-Control"].startswith("public,")
    # A link lives four minutes at least, so whoever gets the oldest answer a cache may give can still follow it.
    assert int(kept["s-maxage"]) + int(kept["stale-while-revalidate"]) + int(kept["max-age"]) < OTHERS_LINK_SECONDS - 60
    assert "Authorization" in headers["Vary"]
    etag = headers["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        status, again, body = await works.ask("GET", path, headers={"If-None-Match": known})
        assert (status, body, again["ETag"], again["Cache-Control"]) == (304, b"", etag, headers["Cache-Control"]), known
    assert (await works.ask("GET", path, headers={"If-None-Match": '"other"'}))[0] == 200
    await works.ask("PUT", f"/v1/works/{await published(works, facts, owner)}/like", user=owner)
    work_id = path.rpartition("/")[2]
    if path.startswith(("/works/", "/api/works/")):
        await works.ask("PUT", f"/v1/works/{work_id}/like", user=owner)
    status, changed, _ = await works.ask("GET", path, headers={"If-None-Match": etag})
    assert (status, changed["ETag"] == etag) == (200, False)


@pytest.mark.parametrize("path", ["/v1/gallery", "/works", "/api/works", "/works/{}", "/api/works/{}"])
async def test_what_is_shown_to_one_is_kept_by_nobody_else(works: Any, facts: Any, path: str) -> None:
    owner = new_id()
    path = path.format(await published(works, facts, owner))
    anonymous = (await works.ask("GET", path))[1]["ETag"]
    status, headers, _ = await works.ask("GET", path, user=owner, headers={"If-None-Match": anonymous})
    assert (status, headers["Cache-Control"]) == (200, "private, no-cache")
    status, headers, _ = await works.ask("GET", path, user=owner, headers={"If-None-Match": headers["ETag"]})
    assert (status, headers["Cache-Control"]) == (304, "private, no-cache")


@pytest.mark.parametrize(
    ("path", "header", "value"),
    [
        ("/api/works?status=failed", "Accept-Language", "en"), ("/api/works/{}", "Accept-Language", "en"),
        ("/works", "X-LC-Id", "app"), ("/works/{}", "X-LC-Id", "app"), ("/v1/gallery", "X-LC-Id", "app"),
    ],
)  # fmt: skip
async def test_a_header_that_changes_an_answer_is_named_beside_it(works: Any, facts: Any, path: str, header: str, value: str) -> None:
    owner, failed = new_id(), new_id()
    shown = str(await published(works, facts, owner))
    if header == "Accept-Language":
        shown = str(failed)
        await works.tell(facts.created(failed, owner), facts.failed(failed, owner))
    (_, plain, one), (_, asked, other) = [await works.ask("GET", path.format(shown), user=owner, headers=headers) for headers in ({}, {header: value})]
    assert (one == other, plain["ETag"] == asked["ETag"]) == (False, False)
    assert header in plain["Vary"].split(", ")
    assert header in asked["Vary"].split(", ")


async def test_the_gallery_is_walked_once_through_while_works_come_go_and_are_published(works: Any, facts: Any) -> None:
    owner = new_id()
    ids = [str(await published(works, facts, owner, minutes=place)) for place in range(9)]
    seen: list[str] = []
    after = ""
    for turn in range(4):
        _, _, page = await works.ask("GET", f"/v1/gallery?limit=3{after}")
        seen += [work["objectId"] for work in page["works"]]
        await published(works, facts, owner, minutes=100 + turn)
        if turn == 0:
            assert (await works.ask("DELETE", f"/api/works/{seen[0]}", user=owner))[0] == 200
            assert (await works.ask("DELETE", f"/api/works/{seen[2]}", user=owner))[0] == 200, "the place to go on from is gone"
        if not page["next"]:
            break
        after = f"&after={page['next']}"
    assert seen == ids[::-1]
    _, _, page = await works.ask("GET", "/v1/gallery?limit=100")
    assert [work["objectId"] for work in page["works"]][-7:] == [one for one in ids[::-1] if one not in (seen[0], seen[2])]


async def test_links_to_a_public_work_end_after_its_deletion_and_then_its_bytes(works: Any, facts: Any) -> None:
    owner, task_id = new_id(), new_id()
    item = facts.picture(task_id, 0)
    await works.deps.objects.put(item.key, b"a picture", item.content_type)
    await works.tell(facts.created(task_id, owner), facts.completed(task_id, owner, items=(item,)))
    await works.ask("PUT", f"/api/works/{task_id}", user=owner, json={"is_public": True})
    link = (await works.ask("GET", f"/works/{task_id}"))[2]["imageUrl"]
    own = (await works.ask("GET", f"/works/{task_id}", user=owner))[2]["imageUrl"]
    assert (await works.ask("DELETE", f"/api/works/{task_id}", user=owner))[0] == 200
    for path in (f"/works/{task_id}", f"/api/works/{task_id}"):
        assert (await works.ask("GET", path))[0] == 404
        assert (await works.ask("GET", path, user=owner))[0] == 404
    for path in ("/v1/gallery", "/works", "/api/works"):
        assert str(task_id) not in str((await works.ask("GET", path))[2])
    status, headers, _ = await works.follow(link)
    left = int(re.findall(r"max-age=(\d+)", headers["Cache-Control"])[0])
    assert (status, left <= OTHERS_LINK_SECONDS) == (200, True), "no cache keeps it longer than the link"
    works.clock.move(seconds=left + 1)
    assert [(await works.follow(one))[0] for one in (link, own)] == [403, 200]
    works.clock.move(seconds=3600)
    assert (await works.follow(own))[0] == 403
    works.clock.move(seconds=3600)
    await upkeep.remove_loose_objects(works.deps)
    assert await works.deps.objects.stat(item.key) is None


class TestRemembered:
    """Public works are remembered for as long as these tests last."""

    @pytest.fixture
    def public_works(self) -> PublicWorks:
        return Remembered(seconds=3600, values_max=9)

    async def test_whatever_changes_a_public_work_is_seen_by_others_at_once(self, works: Any, facts: Any) -> None:
        owner, deps, db = new_id(), works.deps, works.db
        work_id = await published(works, facts, owner)

        async def seen() -> Any:
            return (await works.ask("GET", f"/works/{work_id}"))[2]

        before = await seen()
        await db.fetch("UPDATE work SET likes = 7")
        assert await seen() == before
        await works.ask("POST", f"/v1/works/{work_id}/plays", user=new_id())
        assert ((await seen())["plays"], (await seen())["likes"]) == (1, 7)
        await works.ask("PUT", f"/api/works/{work_id}", user=owner, json={"tags": ["sea"]})
        assert (await seen())["tags"] == ["sea"]
        async with db.transaction() as tx:
            await consumers.on_task_told(deps, tx, [facts.completed(new_id(), owner, kind="song", work_id=work_id)])
        assert (await seen())["audioUrl"] is not None
        async with db.transaction() as tx:
            told = UserUpdated(sequence=9, user_id=owner, name="Ann", role="user", status="active")
            await consumers.on_user_told(deps, tx, [facts.event(told)])
        assert (await seen())["creator"]["username"] == "Ann"
        await db.fetch("UPDATE work SET likes = 8")
        await consumers.on_work_changed(deps, [facts.event(WorkLiked(sequence=9, work_id=work_id, user_id=owner, likes=8))])
        assert (await seen())["likes"] == 8
        await works.ask("DELETE", f"/api/works/{work_id}", user=owner)
        assert (await works.ask("GET", f"/works/{work_id}"))[0] == 404
