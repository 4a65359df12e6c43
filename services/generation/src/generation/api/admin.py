"""What operators do here: scenes, everybody's tasks, numbers."""

import re
from dataclasses import replace

from common.errors import FileNotFound, InvalidParameter, SceneNotFound, ServiceError
from common.ids import derived_id, new_id
from common.objects import source_of_thumbnail
from common.web import Answer, Request, Route
from common.web.photo import Ok, Page
from generation import commands, queries
from generation.api.asking import PICTURE_EXTENSIONS, rendering_for
from generation.deps import Deps
from generation.domain import STATES, Scene
from generation.schemas import admin as shapes
from generation.schemas import photo

_ID = re.compile(r"[a-z0-9]+")


async def create_scene(request: Request[Deps]) -> Answer:
    """A new scene; its id is made of its name where that is possible, and of the Idempotency-Key where there is one."""
    deps, wish = request.deps, request.body
    now = deps.db.clock.now()
    key = request.idempotency_key
    number = derived_id(request.user_id, "POST /api/scenes", key) if key is not None else new_id()
    scene_id = "-".join([*_ID.findall(wish.scene_name.lower())][:6])[:40] or "scene"
    cover_key, cover_link = await _cover(deps, wish.cover_image)
    scene = Scene(
        scene_id=f"{scene_id}-{number.hex[-8:]}", version=1, scene_name=wish.scene_name, category=wish.category, description=wish.description,
        prompt_template=wish.prompt_template, cover_key=cover_key, cover_link=cover_link, parameters=wish.parameters, tags=tuple(wish.tags), status=wish.status,
        display_order=wish.display_order, created_at=now, updated_at=now,
    )  # fmt: skip
    async with deps.db.transaction() as tx:
        [made] = await commands.create_scenes(tx, [scene])
        tx.after_commit(deps.scenes.forget)
    if isinstance(made, ServiceError):
        raise made
    headers = {"Idempotent-Replayed": "true"} if made.created_at != now else {}
    return Answer(_shown(request, made), headers=headers)


async def change_scene(request: Request[Deps]) -> Answer:
    """What is named changes, the rest stays."""
    deps, wish = request.deps, request.body
    said = {name: value for name, value in wish.model_dump(exclude_unset=True).items() if value is not None}
    if "cover_image" in said:
        said["cover_key"], said["cover_link"] = await _cover(deps, said.pop("cover_image"))
    if "tags" in said:
        said["tags"] = tuple(said["tags"])
    async with deps.db.transaction() as tx:
        [changed] = await commands.change_scenes(tx, {request.params["scene_id"]: lambda scene: replace(scene, **said)})
        tx.after_commit(deps.scenes.forget)
    if isinstance(changed, ServiceError):
        raise changed
    return Answer(_shown(request, changed))


async def delete_scene(request: Request[Deps]) -> Answer:
    """Gone for new tasks; those that used it keep what it said."""
    deps = request.deps
    async with deps.db.transaction() as tx:
        [gone] = await commands.delete_scenes(tx, [request.params["scene_id"]])
        tx.after_commit(deps.scenes.forget)
    if isinstance(gone, ServiceError):
        raise gone
    return Answer(Ok[None](message=shapes.DELETED_TEXT[request.lang]))


async def list_categories(request: Request[Deps]) -> Answer:
    """How many active scenes each category has."""
    counts: dict[str, int] = {}
    for scene in await request.deps.scenes.list():
        if scene.status == "active":
            counts[scene.category] = counts.get(scene.category, 0) + 1
    categories = [shapes.Category(category=name, count=count) for name, count in sorted(counts.items())]
    return Answer(Ok[shapes.CategoriesData](data=shapes.CategoriesData(categories=categories)))


async def list_all_tasks(request: Request[Deps]) -> Answer:
    """Everybody's tasks, newest first, with their owners' names."""
    deps, query = request.deps, request.query
    page, total = await queries.list_everybodys(
        deps.db, kinds=[query.type] if query.type else queries.KINDS, states=[photo.STATES[query.status]] if query.status else STATES,
        user_id=query.user_id, limit=query.pageSize, offset=query.offset,
    )  # fmt: skip
    people = await deps.people.find([task.user_id for task in page])
    to = rendering_for(request)
    rendered = [
        shapes.AdminTask(
            **photo.render_task(task, to=to, arrived=task.delivered, percent=deps.workers.percent_of(task.task_id)).model_dump(),
            nickname=person.username if (person := people.get(task.user_id)) else "",
        )
        for task in page
    ]
    return Answer(Ok[shapes.AdminTasksData](data=shapes.AdminTasksData(tasks=rendered, pagination=Page.of(query, total))))


async def show_overview(request: Request[Deps]) -> Answer:
    """How many tasks there are, by what became of them."""
    numbers = list((await request.deps.queue.numbers()).values())
    tasks = shapes.OverviewTasks(
        total_tasks=sum(one.total for one in numbers),
        pending_tasks=sum(one.waiting for one in numbers),
        processing_tasks=sum(one.active + one.delayed for one in numbers),
        completed_tasks=sum(one.completed for one in numbers),
        failed_tasks=sum(one.failed for one in numbers),
    )
    return Answer(shapes.Overview(tasks=tasks))


async def _cover(deps: Deps, given: str) -> tuple[str | None, str | None]:
    """Where a cover lies: of a picture uploaded here a copy is kept, by its key, another address as it is."""
    if not given:
        return None, None
    key = deps.signer.key_of(given, good_at=deps.db.clock.now())
    if key is not None:
        source = source_of_thumbnail(key) or key
        if not source.endswith(PICTURE_EXTENSIONS):
            raise InvalidParameter.of("cover_image", "picture-link")
        try:
            return await deps.photos.keep_cover(source), None
        except FileNotFound:
            raise InvalidParameter.of("cover_image", "picture-gone") from None
    if not given.startswith("https://"):
        raise InvalidParameter.of("cover_image", "cover-link")
    return None, given


def _shown(request: Request[Deps], scene: Scene) -> Ok[photo.SceneData]:
    return Ok[photo.SceneData](data=photo.SceneData(scene=photo.render_scene(scene, to=rendering_for(request))))


ROUTES = (
    Route("POST", "/api/scenes", create_scene, auth="admin", body=shapes.NewScene, answers={200: Ok[photo.SceneData]}, keyed=True, summary="Make a scene"),
    Route(
        "PUT",
        "/api/scenes/{scene_id}",
        change_scene,
        auth="admin",
        body=shapes.SceneChange,
        answers={200: Ok[photo.SceneData]},
        refusals=(SceneNotFound,),
        summary="Change a scene",
    ),
    Route("DELETE", "/api/scenes/{scene_id}", delete_scene, auth="admin", answers={200: Ok[None]}, refusals=(SceneNotFound,), summary="Delete a scene"),
    Route("GET", "/api/scenes/meta/categories", list_categories, auth="none", answers={200: Ok[shapes.CategoriesData]}, summary="Categories of scenes"),
    Route(
        "GET",
        "/api/admin/tasks",
        list_all_tasks,
        auth="admin",
        query=shapes.AdminTasksQuery,
        answers={200: Ok[shapes.AdminTasksData]},
        summary="All tasks",
    ),
    Route("GET", "/internal/admin/overview", show_overview, auth="admin", answers={200: shapes.Overview}, summary="How many tasks there are"),
)
