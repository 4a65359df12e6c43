"""What other services ask: whose works are these?"""

from common.web import Answer, Request, Route
from works import store
from works.deps import Deps
from works.schemas.internal import KnownWork, KnownWorks, WorkIds


async def list_known_works(request: Request[Deps]) -> Answer:
    asked: WorkIds = request.body
    async with request.deps.db.read() as conn:
        works = await store.load_works(conn, asked.work_ids)
    known = [
        KnownWork(
            work_id=work.work_id, user_id=work.user_id, image_key=work.image_key, title=work.title, is_favorite=work.is_favorite, is_public=work.is_public
        )
        for work in works
    ]
    return Answer(KnownWorks(works=known))


ROUTES = (Route("POST", "/internal/works/list", list_known_works, auth="service", body=WorkIds, answers={200: KnownWorks}, summary="Works by id"),)
