"""The song dialect's routes about points."""

from billing import queries
from billing.api.orders import place_order
from billing.deps import Deps
from billing.schemas.song import PointsShown, PurchaseAsk, PurchaseShown, UserPointer, UserShown
from common.errors import Conflict, PurchaseFailed
from common.web import Answer, Request, Route
from common.web.song import SongPage, SongPageQuery

_PURCHASE = "POST /points/purchase"


async def list_points(request: Request[Deps]) -> Answer:
    """What changed my points, newest first."""
    deps, query, user_id = request.deps, request.query, request.user_id
    balance = await deps.balances(user_id)
    found, total = await queries.list_records(deps.db, balance.point, offset=query.offset, limit=query.limit)
    user = UserPointer(objectId=user_id) if "X-LC-Id" in request.http.headers else UserShown(objectId=user_id)
    shown = [PointsShown.of(record, user, request.lang) for record in found]
    return Answer(SongPage[PointsShown](results=shown, page=query.page, limit=query.limit, total=total))


async def purchase(request: Request[Deps]) -> Answer:
    """Order points or a membership; the client's amount is only compared."""
    ask = request.body
    order, headers = await place_order(request, ask.packageId, "point", ask.payment.method, _PURCHASE, price_minor=ask.price_minor)
    return Answer(PurchaseShown.of(order, request.deps.vault), status=201, headers=headers)


ROUTES = (
    Route("GET", "/points/history", list_points, query=SongPageQuery, answers={200: SongPage[PointsShown]}, summary="What changed my points"),
    Route(
        "POST",
        "/points/purchase",
        purchase,
        body=PurchaseAsk,
        answers={201: PurchaseShown},
        refusals=(PurchaseFailed, Conflict),
        keyed=True,
        example={"packageId": "points-800", "payment": {"method": "stripe", "amount": 2}},
        summary="Order points or a membership",
    ),
)
