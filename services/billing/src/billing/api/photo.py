"""The photo dialect's routes about credits."""

from billing import queries
from billing.deps import Deps
from billing.schemas.photo import BalanceShown, RecordShown, RecordsQuery, RecordsShown, StatsShown
from common.web import Answer, Request, Route
from common.web.photo import Ok, Page


async def get_balance(request: Request[Deps]) -> Answer:
    """What I have; asking for the first time opens my accounts."""
    balance = await request.deps.balances(request.user_id)
    return Answer(Ok(data=BalanceShown.of(balance)))


async def list_records(request: Request[Deps]) -> Answer:
    """What changed what I have, newest first."""
    deps, query = request.deps, request.query
    balance = await deps.balances(request.user_id)
    found, total = await queries.list_records(deps.db, balance.credit, query.filter, offset=query.offset, limit=query.pageSize)
    order_nos = await queries.list_order_nos(deps.db, found)
    shown = [RecordShown.of(record, request.lang, order_nos) for record in found]
    return Answer(Ok(data=RecordsShown(records=shown, pagination=Page.of(query, total))))


async def get_stats(request: Request[Deps]) -> Answer:
    """Sums of what changed what I have."""
    balance = await request.deps.balances(request.user_id)
    return Answer(Ok(data=StatsShown.of(balance)))


ROUTES = (
    Route("GET", "/api/credits/balance", get_balance, answers={200: Ok[BalanceShown]}, summary="My credits"),
    Route("GET", "/api/credits/records", list_records, query=RecordsQuery, answers={200: Ok[RecordsShown]}, summary="What changed my credits"),
    Route("GET", "/api/credits/stats", get_stats, answers={200: Ok[StatsShown]}, summary="Sums of my credits"),
)
