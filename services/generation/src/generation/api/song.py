"""The song dialect: /music/tasks."""

from common.errors import InvalidParameter, ServiceError, TaskNotFound, WorkNotFound
from common.trace import current_trace
from common.web import Answer, Request, Route
from generation.api.asking import CREATE_REFUSALS, hash_of, kept_work, made_before, name_task, person_of, rendering_for
from generation.api.photo import visible_task
from generation.deps import Deps
from generation.domain import ENDED, Brief, Create, OwnedWork, Task
from generation.schemas import song as shapes

CREATE_ROUTE = "POST /music/tasks"


async def create_song(request: Request[Deps]) -> Answer:
    """Ask for a song."""
    ask: shapes.CreateSong = request.body
    deps = request.deps
    task_id, keyed = name_task(request, CREATE_ROUTE)
    body_hash = hash_of(ask.model_dump(mode="json"))
    try:
        photo = await _photo_of(request, ask)
    except ServiceError as refusal:
        created = await made_before(deps, task_id, refusal, keyed=keyed, body_hash=body_hash)
    else:
        created = await deps.create(
            Create(
                task_id=task_id, user_id=request.user_id, work_id=ask.workId or task_id, kind="song", asked=1, scene_id=None,
                brief=Brief(
                    photos=(photo.image_key,) if photo and photo.image_key else (), title=ask.title, prompt=ask.prompt, tags=tuple(ask.tags),
                    negative_tags=tuple(ask.negative_tags), instrumental=ask.instrumental, model=ask.model,
                ),
                body_hash=body_hash, keyed=keyed, waiting_max=deps.settings.waiting_max(admin=request.principal.is_admin),
                trace=current_trace.get(), is_admin=request.principal.is_admin,
            )
        )  # fmt: skip
    creator = await _creator(request, created.task)
    body = shapes.render_song_task(created.task, (), to=rendering_for(request), percent=0, creator=creator, as_created=True)
    headers = {"Location": f"/music/tasks/{created.task.task_id}"} | ({"Idempotent-Replayed": "true"} if created.replayed else {})
    return Answer(body, status=201, headers=headers)


async def _photo_of(request: Request[Deps], ask: shapes.CreateSong) -> OwnedWork | None:
    """The work a song is made of, if one is named: mine, and with a photo."""
    if ask.workId is None:
        if not ask.prompt:
            raise InvalidParameter.of("prompt", "prompt-or-photo")
        return None
    work = await request.deps.find_work(ask.workId)
    if work is None or work.is_deleted or work.user_id != request.user_id:
        raise WorkNotFound()
    if work.image_key is None and not ask.prompt:
        raise InvalidParameter.of("workId", "work-without-photo")
    return work


async def get_song(request: Request[Deps]) -> Answer:
    """A music task of mine."""
    deps = request.deps
    view = await visible_task(request, "taskId")
    task = view.task
    if task.kind != "song":
        raise TaskNotFound()
    kept = await kept_work(deps, task) if task.state in ENDED and view.items else None
    percent = deps.workers.percent_of(task.task_id)
    creator = await _creator(request, task)
    return Answer(shapes.render_song_task(task, view.items, to=rendering_for(request), percent=percent, creator=creator, kept=kept))


async def _creator(request: Request[Deps], task: Task) -> shapes.Creator | shapes.Pointer:
    """Who asked, in the words of this client: those of the old backend take a pointer."""
    if "X-LC-Id" in request.http.headers:
        return shapes.Pointer(objectId=task.user_id)
    return shapes.render_creator(task.user_id, await person_of(request.deps, task.user_id), to=rendering_for(request))


ROUTES = (
    Route(
        "POST",
        "/music/tasks",
        create_song,
        body=shapes.CreateSong,
        answers={201: shapes.SongTask},
        refusals=(WorkNotFound, *CREATE_REFUSALS),
        keyed=True,
        summary="Ask for a song",
        limits="create",
    ),
    Route("GET", "/music/tasks/{taskId}", get_song, answers={200: shapes.SongTask}, refusals=(TaskNotFound,), summary="One music task"),
)
