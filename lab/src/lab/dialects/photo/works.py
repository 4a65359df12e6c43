"""The photo dialect: works."""

from lab.dialects.photo.words import OK, PAGE, WORK, data, row
from lab.dialects.rows import Ask, Refusal, Row, at, bad
from lab.dialects.shapes import WORD
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
        data(works=[WORK], pagination=PAGE),
        at("/api/works?type=&status=&page=1&pageSize=5"),
        Refusal(400, 10001, "a page below 1", at("/api/works?page=0")),
        takes={
            "type?": "fitting, photography, travel",
            "status?": "completed",
            "is_public?": "true or false",
            "is_favorite?": "true or false",
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
        takes={"is_favorite?": "true or false", "is_public?": "true or false", "tags?": "[text]"},
    ),
    row(
        "DELETE",
        "/api/works/:work_id",
        "user",
        "Delete a work",
        {**OK, "message": WORD},
        _delete_work,
        Refusal(404, 30000, "unknown", at(f"/api/works/{UNKNOWN}")),
        Refusal(404, 30000, "another's work", _bobs_work),
    ),
    row(
        "POST",
        "/api/works/batch/delete",
        "user",
        "Delete several works, all or none",
        {**OK, "message": WORD},
        _batch_delete,
        Refusal(403, 10003, "one of them is another's: nothing is deleted", _batch_delete_bobs),
        bad("/api/works/batch/delete", "no list", {}),
        takes={"work_ids": "[id]"},
    ),
)
