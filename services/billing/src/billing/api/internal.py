"""What other services ask: holds, balances, adjustments, an audit."""

from dataclasses import asdict

from billing import commands, lanes
from billing.deps import Deps
from billing.domain import Adjust
from billing.schemas.internal import (
    AdjustmentAsks,
    AdjustmentMade,
    AdjustmentOutcomes,
    AdjustmentRefused,
    AuditShown,
    BalanceShown,
    BalancesShown,
    HoldAsks,
    HoldOutcomes,
    HoldShown,
    HoldsShown,
    TaskIds,
    UserIds,
    render_outcomes,
)
from billing.store import holds
from common.errors import ServiceError
from common.web import Answer, Request, Route

_BODY_BYTES_MAX = 512 * 1024
_AUDIT_SECONDS = 600


async def place_holds(request: Request[Deps]) -> Answer:
    """Reserve credits for tasks, each answered for itself."""
    deps, body = request.deps, request.body
    asks = [hold.priced(deps.prices) for hold in body.holds]
    return Answer(render_outcomes(asks, await deps.holds(asks) if asks else []))


async def list_holds(request: Request[Deps]) -> Answer:
    """What became of the holds of these tasks."""
    async with request.deps.db.read() as conn:
        found = await holds.list_views(conn, request.body.task_ids)
    return Answer(HoldsShown(holds=[HoldShown(**view._asdict()) for view in found]))


async def list_balances(request: Request[Deps]) -> Answer:
    """What these users have; the first question opens their accounts."""
    deps, user_ids = request.deps, request.body.user_ids
    found = await lanes.read_balances(deps.db, deps.signup, set(user_ids))
    now = deps.db.clock.now()
    return Answer(BalancesShown(balances=[BalanceShown.of(found[user_id], now) for user_id in user_ids]))


async def adjust(request: Request[Deps]) -> Answer:
    """Correct accounts, each adjustment once."""
    deps = request.deps
    asks = [Adjust(**ask.model_dump()) for ask in request.body.adjustments]
    outcomes = await lanes.change_opened(deps.db, deps.signup, lambda tx: commands.adjust_accounts(tx, asks)) if asks else []
    return Answer(
        AdjustmentOutcomes(
            outcomes=[
                AdjustmentRefused(adjustment_id=ask.adjustment_id, code=outcome.code, data=outcome.data)
                if isinstance(outcome, ServiceError)
                else AdjustmentMade(adjustment_id=ask.adjustment_id, available=outcome)
                for ask, outcome in zip(asks, outcomes, strict=True)
            ]
        )
    )


async def audit(request: Request[Deps]) -> Answer:
    """Compare all of the books with themselves, now."""
    deps = request.deps
    checked_at = deps.db.clock.now()
    disagreements = asdict(await deps.auditor.check_everything())
    return Answer(AuditShown(checked_at=checked_at, sound=not any(disagreements.values()), disagreements=disagreements))


ROUTES = (
    Route(
        "POST", "/internal/holds", place_holds, auth="service", body=HoldAsks, answers={200: HoldOutcomes}, body_bytes_max=_BODY_BYTES_MAX,
        summary="Hold credits for tasks",
    ),
    Route("POST", "/internal/holds/list", list_holds, auth="service", body=TaskIds, answers={200: HoldsShown}, summary="Holds of tasks"),
    Route("POST", "/internal/balances", list_balances, auth="service", body=UserIds, answers={200: BalancesShown}, summary="What users have"),
    Route(
        "POST", "/internal/adjustments", adjust, auth="service", body=AdjustmentAsks, answers={200: AdjustmentOutcomes},
        body_bytes_max=_BODY_BYTES_MAX, summary="Correct accounts",
    ),
    Route(
        "GET", "/internal/audit", audit, auth="service", answers={200: AuditShown}, deadline_seconds=_AUDIT_SECONDS,
        summary="Compare the books with themselves",
    ),
)  # fmt: skip
