"""The photo dialect: /api/tasks and /api/scenes."""

from common.errors import InvalidParameter, SceneNotFound, ServiceError, TaskNotCancellable, TaskNotFound
from common.trace import current_trace
from common.web import Answer, Request, Route
from common.web.photo import Ok, Page, PageQuery
from generation import commands, queries
from generation.api.asking import CREATE_REFUSALS, PHOTO_REFUSALS, hash_of, kept_work, made_before, name_task, names_of, photo_keys, rendering_for
from generation.deps import Deps
from generation.domain import ENDED, STATES, Brief, Cancel, Create, Scene, View
from generation.schemas import photo as shapes

CREATE_BODY_BYTES_MAX = 50 * 1024 * 1024
CREATE_ROUTE = "POST /api/tasks/create"


async def create_task(request: Request[Deps]) -> Answer:
    """Ask for pictures."""
    ask: shapes.CreateTask = request.body
    deps, is_admin = request.deps, request.principal.is_admin
    task_id, keyed = name_task(request, CREATE_ROUTE)
    body_hash = hash_of(shapes.canonical(ask, images=names_of(deps, ask.images)))
    try:
        scene, photos = await _at_hand(request)
    except ServiceError as refusal:
        created = await made_before(deps, task_id, refusal, keyed=keyed, body_hash=body_hash)
    else:
        created = await deps.create(
            Create(
                task_id=task_id, user_id=request.user_id, work_id=task_id, kind=ask.type, asked=ask.batch_count, scene_id=scene.scene_id if scene else None,
                brief=_brief(ask, photos, scene), body_hash=body_hash, keyed=keyed,
                waiting_max=deps.settings.waiting_max(admin=is_admin), trace=current_trace.get(), is_admin=is_admin,
            )
        )  # fmt: skip
    headers = {"Idempotent-Replayed": "true"} if created.replayed else {}
    return Answer(shapes.render_created(created.task), headers=headers)


async def _at_hand(request: Request[Deps]) -> tuple[Scene | None, tuple[str, ...]]:
    """The scene and the photos that are asked for, as they are now."""
    ask: shapes.CreateTask = request.body
    most = request.deps.config["max_batch_count"]
    if ask.batch_count > most:
        raise InvalidParameter.of("batch_count", "less_than_equal", le=most)
    return await _active_scene(request.deps, ask.scene_id), await photo_keys(request, ask.images)


async def _active_scene(deps: Deps, scene_id: str | None) -> Scene | None:
    if not scene_id:
        return None
    scene = await deps.scenes.find(scene_id)
    if scene is None or scene.status != "active":
        raise SceneNotFound(f"scene_id: {scene_id}")
    return scene


def _brief(ask: shapes.CreateTask, photos: tuple[str, ...], scene: Scene | None) -> Brief:
    destination = ask.destination
    words = (scene.prompt_template if scene else "", destination.prompt if destination else "", ask.custom_description or "")
    return Brief(
        photos=photos, prompt=". ".join(word for word in words if word), parameters=ask.parameters or {}, custom_description=ask.custom_description or "",
        destination=destination.model_dump() if destination else None, scene_version=scene.version if scene else None,
    )  # fmt: skip


async def get_task(request: Request[Deps]) -> Answer:
    """A task of mine, and the work it became."""
    deps = request.deps
    view = await visible_task(request)
    task = view.task
    to = rendering_for(request)
    kept = await kept_work(deps, task) if task.state in ENDED and view.items else None
    lent = () if request.principal.is_admin else await queries.list_lent(deps.db, task.user_id, [task])
    rendered = shapes.render_task(task, to=to, arrived=len(view.items), percent=deps.workers.percent_of(task.task_id), lent=lent)
    return Answer(Ok[shapes.TaskData](data=shapes.TaskData(task=rendered, work=shapes.render_work(task, view.items, to=to, kept=kept))))


async def visible_task(request: Request[Deps], name: str = "task_id") -> View:
    """The task a path names, if the caller may see it; another's is answered like an unknown one."""
    view = await request.deps.view(request.id(name, TaskNotFound))
    if view is None or (view.task.user_id != request.user_id and not request.principal.is_admin):
        raise TaskNotFound()
    return view


async def list_tasks(request: Request[Deps]) -> Answer:
    """My tasks, newest first."""
    query: shapes.TasksQuery = request.query
    deps = request.deps
    page, total = await queries.list_page(
        deps.db, request.user_id, kinds=[query.type] if query.type else shapes.PICTURE_KINDS,
        states=[shapes.STATES[query.status]] if query.status else STATES, limit=query.pageSize, offset=query.offset,
    )  # fmt: skip
    to = rendering_for(request)
    lent = await queries.list_lent(deps.db, request.user_id, page)
    rendered = [shapes.render_task(task, to=to, arrived=task.delivered, percent=deps.workers.percent_of(task.task_id), lent=lent) for task in page]
    return Answer(Ok[shapes.TasksData](data=shapes.TasksData(tasks=rendered, pagination=Page.of(query, total))))


async def cancel_task(request: Request[Deps]) -> Answer:
    """Give a task up; what is not delivered by now is not paid."""
    deps = request.deps
    task_id = request.id("task_id", TaskNotFound)
    owner = None if request.principal.is_admin else request.user_id
    async with deps.db.transaction() as tx:
        (outcome,) = await commands.cancel_tasks(tx, [Cancel(task_id, owner)])
    if isinstance(outcome, ServiceError):
        raise shapes.in_status_words(outcome)
    deps.workers.drop([task_id])
    return Answer(Ok[shapes.CancelledTask](message=shapes.CANCELLED_TEXT[request.lang], data=shapes.CancelledTask(task_id=task_id)))


async def get_queue(request: Request[Deps]) -> Answer:
    """How full the queue is."""
    return Answer(Ok[shapes.QueueStats](data=shapes.render_queue(await request.deps.queue.numbers())))


async def list_scenes(request: Request[Deps]) -> Answer:
    """Scenes to choose from."""
    query: shapes.ScenesQuery = request.query
    # An empty status asks for all; the query model cannot tell it from an absent one.
    status = query.status or (None if "status" in request.http.query else "active")
    keyword = (query.keyword or "").casefold()
    found = [
        scene for scene in await request.deps.scenes.list()
        if status in (None, scene.status) and query.category in (None, scene.category) and (not keyword or _mentions(scene, keyword))
    ]  # fmt: skip
    page = PageQuery(page=query.page, pageSize=query.pageSize)
    to = rendering_for(request)
    shown = [shapes.render_scene(scene, to=to) for scene in found[page.offset : page.offset + page.pageSize]]
    return Answer(Ok[shapes.ScenesData](data=shapes.ScenesData(scenes=shown, pagination=Page.of(page, len(found)))))


def _mentions(scene: Scene, keyword: str) -> bool:
    return any(keyword in words.casefold() for words in (scene.scene_id, scene.scene_name, scene.description, *scene.tags))


async def get_scene(request: Request[Deps]) -> Answer:
    """One scene."""
    scene = await request.deps.scenes.find(request.params["scene_id"])
    if scene is None:
        raise SceneNotFound()
    return Answer(Ok[shapes.SceneData](data=shapes.SceneData(scene=shapes.render_scene(scene, to=rendering_for(request)))))


ROUTES = (
    Route(
        "POST", "/api/tasks/create", create_task, body=shapes.CreateTask, body_bytes_max=CREATE_BODY_BYTES_MAX, answers={200: shapes.CreatedAnswer},
        refusals=(SceneNotFound, *CREATE_REFUSALS, *PHOTO_REFUSALS), keyed=True, summary="Ask for pictures", deadline_seconds=60, limits="create",
    ),
    Route("GET", "/api/tasks/user/list", list_tasks, query=shapes.TasksQuery, answers={200: Ok[shapes.TasksData]}, summary="My tasks"),
    Route("GET", "/api/tasks/stats/queue", get_queue, answers={200: Ok[shapes.QueueStats]}, summary="The queue's statistics"),
    Route("GET", "/api/tasks/{task_id}", get_task, answers={200: Ok[shapes.TaskData]}, refusals=(TaskNotFound,), summary="One task and its work"),
    Route(
        "POST", "/api/tasks/{task_id}/cancel", cancel_task, answers={200: Ok[shapes.CancelledTask]}, refusals=(TaskNotFound, TaskNotCancellable),
        summary="Cancel a task",
    ),
    Route("GET", "/api/scenes", list_scenes, auth="none", query=shapes.ScenesQuery, answers={200: Ok[shapes.ScenesData]}, summary="Scenes"),
    Route("GET", "/api/scenes/{scene_id}", get_scene, auth="none", answers={200: Ok[shapes.SceneData]}, refusals=(SceneNotFound,), summary="One scene"),
)  # fmt: skip
