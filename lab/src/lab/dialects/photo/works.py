"""The photo dialect: works."""

from lab.dialects.photo.words import OK, PAGE, WORK, data, row
from lab.dialects.rows import Ask, Refusal, Row, at, bad
from lab.dialects.shapes import SENTENCE, Some
from lab.dialects.world import UNKNOWN, World


async def _work(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.work()}")


async def _bobs_work(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.work('bob')}")


async def _change_work(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.work()}", json={"is_favorite": True, "tags": ["sea"]})


async def _change_work_badly(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.work()}", json={"is_favorite": "perhaps"})


async def _change_bobs_work(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.work('bob')}", json={"is_favorite": True})


async def _delete_work(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.spare_work()}")


async def _my_works(world: World) -> Ask:
    await world.work()
    return Ask(path="/api/works?type=&status=&page=1&pageSize=5")


async def _change_growing(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.growing_work()}", json={"is_favorite": True})


async def _change_since(world: World) -> Ask:
    """The ETag of what was seen, after somebody changed it."""
    path = f"/api/works/{await world.work()}"
    _, _, seen = await world.send("GET", Ask(path=path), who="alice")
    for is_public in (True, False):
        await world.ask("PUT", path, json={"is_public": is_public})
    return Ask(path=path, json={"is_favorite": False}, headers={"If-Match": seen["etag"]})


async def _delete_growing(world: World) -> Ask:
    return Ask(path=f"/api/works/{await world.growing_work()}")


async def _batch_delete_growing(world: World) -> Ask:
    return Ask(path="/api/works/batch/delete", json={"work_ids": [await world.work(), await world.growing_work()]})


async def _batch_delete_unknown(world: World) -> Ask:
    return Ask(path="/api/works/batch/delete", json={"work_ids": [await world.work(), UNKNOWN]})


async def _batch_delete(world: World) -> Ask:
    return Ask(path="/api/works/batch/delete", json={"work_ids": [await world.spare_work()]})


async def _batch_delete_bobs(world: World) -> Ask:
    return Ask(path="/api/works/batch/delete", json={"work_ids": [await world.work(), await world.work("bob")]})


WORKS: tuple[Row, ...] = (
    row(
        "GET",
        "/api/works",
        "optional",
        "My works; without a token the public ones",
        data(works=Some(WORK), pagination=PAGE),
        _my_works,
        Refusal(400, 10001, "a page below 1", at("/api/works?page=0")),
        Refusal(400, 10001, "an unknown type", at("/api/works?type=sculpture")),
        Refusal(400, 10001, "a user that is no id", at("/api/works?user_id=me")),
        takes={
            "type?": "fitting, photography, travel",
            "status?": "completed",
            "is_public?": "true or false",
            "is_favorite?": "true or false",
            "user_id?": "id; another's public works, for an admin all of them",
            "page?": "number",
            "pageSize?": "1 to 100",
        },
    ),
    row(
        "GET",
        "/api/works/:work_id",
        "optional",
        "One work",
        data(work=WORK),
        _work,
        Refusal(404, 30000, "unknown", at(f"/api/works/{UNKNOWN}")),
        Refusal(404, 30000, "another's private work", _bobs_work),
    ),
    row(
        "PUT",
        "/api/works/:work_id",
        "user",
        "Change a work's marks",
        data(work=WORK),
        _change_work,
        Refusal(404, 30000, "unknown", at(f"/api/works/{UNKNOWN}", json={"is_favorite": True})),
        Refusal(404, 30000, "another's work", _change_bobs_work),
        Refusal(400, 10001, "a mark that is neither true nor false", _change_work_badly),
        Refusal(409, 30002, "it is being made", _change_growing),
        Refusal(409, 30002, "it was changed since the `If-Match` that is sent", _change_since),
        takes={"is_favorite?": "true or false", "is_public?": "true or false", "tags?": "[text]", "If-Match? (header)": "the ETag of what was seen"},
    ),
    row(
        "DELETE",
        "/api/works/:work_id",
        "user",
        "Delete a work",
        {**OK, "message": SENTENCE},
        _delete_work,
        Refusal(404, 30000, "unknown", at(f"/api/works/{UNKNOWN}")),
        Refusal(404, 30000, "another's work", _bobs_work),
        Refusal(409, 30003, "its task still runs", _delete_growing),
    ),
    row(
        "POST",
        "/api/works/batch/delete",
        "user",
        "Delete several works, all or none",
        {**OK, "message": SENTENCE},
        _batch_delete,
        Refusal(403, 10003, "one of them is another's: nothing is deleted", _batch_delete_bobs),
        Refusal(403, 10003, "one of them is unknown: nothing is deleted", _batch_delete_unknown),
        Refusal(409, 30003, "the task of one of them still runs: nothing is deleted", _batch_delete_growing),
        bad("/api/works/batch/delete", "no list", {}),
        bad("/api/works/batch/delete", "an empty list", {"work_ids": []}),
        bad("/api/works/batch/delete", "more than a hundred", {"work_ids": [UNKNOWN] * 101}),
        bad("/api/works/batch/delete", "what is no id", {"work_ids": ["mine"]}),
        takes={"work_ids": "[id]"},
    ),
)
