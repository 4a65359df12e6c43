"""What every service asks: which tokens ended before their time."""

from pydantic import Field

from common.revocations import PATH, RevocationPage
from common.web import Answer, Query, Request, Route
from identity import queries
from identity.deps import Deps


class After(Query):
    """The highest number the asker knows."""

    after: int = Field(default=0, ge=0, le=2**62)


async def list_revocations(request: Request[Deps]) -> Answer:
    """The next page, in order of its numbers."""
    return Answer(await queries.read_revocations(request.deps.db, request.query.after))


ROUTES = (Route("GET", PATH, list_revocations, auth="service", query=After, answers={200: RevocationPage}, summary="Tokens that ended before their time"),)
