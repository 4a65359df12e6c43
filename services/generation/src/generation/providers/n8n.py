"""n8n: a webhook starts a workflow, which calls back when it is done. That the webhook answered 200 proves only that it was reached."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import aiohttp
import orjson

from common.errors import ServiceError
from common.objects import UrlSigner
from generation.fetching import Unfetchable
from generation.photos import read_data_url
from generation.providers.base import PICTURE_KINDS, Attempt, Failed, Finished, Kind, Lost, NotSent, Refused, ReportStep, Result, Running, Submitted
from generation.providers.labelled import label_picture
from generation.providers.local.child import OverLimit
from generation.providers.local.pool import Pool, PoolBroken

WORKFLOWS: dict[Kind, str] = {"fitting": "fitting-batch", "photography": "photography-batch", "travel": "photography-batch"}
"""The path of each kind's webhook."""
SECRET_HEADER = "X-Darkroom-Secret"
"""Both ways, so that one header credential in n8n serves webhook and call back."""
INNER_SECRET_HEADER = "X-Internal-Secret"
"""Also taken, from workflows that call generation directly: the gateway lets no header of this family in."""
TOKEN_HEADER = "X-Darkroom-Attempt-Token"
COMPLETE_PATH = "/api/callback/task-complete"
FAILED_PATH = "/api/callback/task-failed"
RESULT_BYTES_MAX = 30 * 1024 * 1024
RESULTS_BYTES_MAX = 100 * 1024 * 1024
FETCHES_SECONDS_MAX = 180.0
"""For all pictures of one call back together, and never more than half of what is left to the deadline: what came in time is still to be kept."""
AT_ONCE_MAX = 4
"""Pictures of one call back that are fetched and labelled at once."""

TOO_LARGE = "the pictures are too large altogether"
TOO_LATE = "the picture was not fetched: there was no time left for it"

_NOT_NOW = frozenset({404, 408, 429})
"""The workflow is not active, or the gate before it is closed: nothing was started."""

Fetch = Callable[[str], Awaitable[bytes]]
"""The picture at an address that somebody else named. Raises Unfetchable."""
FindAnswer = Callable[[UUID, int], Awaitable[tuple[str, bytes] | None]]
"""(what it says, body) of the call that answers this attempt of this task."""


class N8nProvider:
    """Pictures by workflows. One attempt makes all items of a task."""

    name = "n8n"
    kinds: frozenset[Kind] = PICTURE_KINDS
    repeatable = False
    look_up = False
    batches = True
    calls_back = True

    def __init__(
        self, session: aiohttp.ClientSession, find_answer: FindAnswer, pool: Pool, signer: UrlSigner, *,
        fetch: Fetch, url: str, secret: str, callback_base: str, wait_seconds: float, now: Callable[[], datetime],
        model: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:  # fmt: skip
        """`model` says what operators want of it, and is asked at every start of a workflow."""
        self._session = session
        self._find_answer = find_answer
        self._pool = pool
        self._signer = signer
        self._fetch = fetch
        self._url = url.rstrip("/")
        # A connection kept open may be let go by its other end just as it is used again: then nobody knows whether a workflow began.
        self._headers = {"Content-Type": "application/json", "Connection": "close"} | ({SECRET_HEADER: secret} if secret else {})
        self._callback_base = callback_base.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=wait_seconds, sock_connect=min(wait_seconds, 10))
        self._now = now
        self._model = model

    async def submit(self, attempt: Attempt, report: ReportStep) -> Submitted | Finished:
        """Start the workflow. Raises NotSent, Refused or Lost."""
        workflow = WORKFLOWS.get(attempt.kind)
        if workflow is None:
            raise Refused(f"there is no workflow for {attempt.kind}")
        status = await self._post(f"{self._url}/{workflow}", orjson.dumps(self.body_of(attempt)))
        if status >= 500:
            raise Lost(f"the webhook answered {status}")
        if status in _NOT_NOW:
            raise NotSent(f"the webhook answered {status}")
        if status >= 300:
            raise Refused(f"the webhook answered {status}")
        report(1, 10, "the workflow runs")
        return Submitted(str(attempt.attempt_id))

    def body_of(self, attempt: Attempt) -> dict[str, Any]:
        """What the webhook is sent."""
        now = self._now()
        return {
            "task_id": str(attempt.task_id), "user_id": str(attempt.user_id), "type": attempt.kind,
            "images": [self._signer.sign(key, now=now) for key in attempt.photo_keys],
            "parameters": dict(attempt.parameters), "scene_id": attempt.scene, "prompt": attempt.prompt, "seed": attempt.seed,
            "custom_description": attempt.custom_description, "batch_count": len(attempt.items),
            "destination": dict(attempt.destination) if attempt.destination else None, "model": dict(self._model()),
            "callback_url": self._callback_base + COMPLETE_PATH, "failed_callback_url": self._callback_base + FAILED_PATH,
            "attempt_id": str(attempt.attempt_id), "attempt_token": attempt.token,
        }  # fmt: skip

    async def _post(self, url: str, body: bytes) -> int:
        try:
            async with self._session.post(url, data=body, headers=self._headers, timeout=self._timeout, allow_redirects=False) as answer:
                # Whatever it says, only a call back counts.
                return answer.status
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise NotSent(f"the webhook was not reached: {type(error).__name__}") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Lost(f"the webhook's answer was lost: {type(error).__name__}") from None

    async def check(self, attempt: Attempt) -> Running | Finished | Failed:
        """What the workflow called back with, if it did. Raises NotSent while pictures cannot be labelled."""
        found = await self._find_answer(attempt.task_id, attempt.attempt_no)
        if found is None:
            return Running()
        says, body = found
        said: dict[str, Any] = orjson.loads(body)
        if says == "failed":
            return Failed(str(said.get("error") or "the workflow failed")[:500], is_final=said.get("retryable") is not True)
        return await self._finished(attempt, said)

    async def cancel(self, attempt: Attempt) -> None:
        """n8n has no way to name an execution from outside; what it still calls back with is put aside."""

    async def _finished(self, attempt: Attempt, said: dict[str, Any]) -> Finished:
        wanted: dict[int, object] = {}
        for place, image in enumerate(said.get("images") or ()):
            number = image.get("batch_index", place) if isinstance(image, dict) else None
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(attempt.items):
                continue
            wanted.setdefault(attempt.items[number], image.get("url"))
        allowance = _Allowance(RESULTS_BYTES_MAX, until=asyncio.get_running_loop().time() + self._seconds_to_fetch(attempt))
        slots = asyncio.Semaphore(AT_ONCE_MAX)
        results: dict[int, Result] = {}
        failures: dict[int, str] = {}

        async def make(index: int, url: object) -> None:
            async with slots:
                try:
                    results[index] = await self._result(attempt, index, url, allowance)
                except Unfit as fault:
                    failures[index] = str(fault)

        try:
            async with asyncio.TaskGroup() as group:
                for index, url in wanted.items():
                    group.create_task(make(index, url), name=f"picture {index} of {attempt.task_id}")
        except ExceptionGroup as faults:
            raise faults.exceptions[0] from None
        failures = {index: failures.get(index, "the workflow made no picture of it") for index in attempt.items if index not in results}
        description = said.get("ai_description")
        return Finished(
            results=tuple(results[index] for index in sorted(results)), failures=failures,
            description=description[:4000] if isinstance(description, str) else "", is_final=True,
        )  # fmt: skip

    def _seconds_to_fetch(self, attempt: Attempt) -> float:
        left = (attempt.deadline_at - self._now()).total_seconds() / 2 if attempt.deadline_at is not None else FETCHES_SECONDS_MAX
        return max(min(left, FETCHES_SECONDS_MAX), 0)

    async def _result(self, attempt: Attempt, index: int, url: object, allowance: "_Allowance") -> Result:
        """One picture, labelled; raises Unfit."""
        if not isinstance(url, str):
            raise Unfit("the picture has no address")
        try:
            if url[:5].lower() == "data:":
                body = await read_data_url(url, field="url", bytes_max=RESULT_BYTES_MAX)
            else:
                allowance.ask()
                async with asyncio.timeout_at(allowance.until):
                    body = await self._fetch(url)
        except TimeoutError as error:
            raise Unfit(TOO_LATE) from error
        except ServiceError as refusal:
            raise Unfit(refusal.detail or "the picture's data URL cannot be read") from refusal
        except Unfetchable as refusal:
            raise Unfit(f"the picture was not fetched: {refusal}") from refusal
        allowance.take(len(body))
        try:
            labelled, content_type = await self._pool.run(label_picture, body, produce_id=f"{attempt.task_id}-{index}")
        except (ValueError, OverLimit) as error:
            raise Unfit(f"the picture does not decode: {error}"[:200]) from error
        except PoolBroken as error:
            raise NotSent(str(error)) from error
        return Result(index=index, body=labelled, content_type=content_type)


class Unfit(Exception):
    """A picture that cannot be used."""


class _Allowance:
    """How much one call back may bring altogether, wherever it lies, and until when it is fetched."""

    def __init__(self, bytes_max: int, *, until: float) -> None:
        self._bytes_left = bytes_max
        self._is_spent = False
        self.until = until

    def ask(self) -> None:
        """Before something is fetched. Raises Unfit once something was too much, or too late."""
        if self._is_spent:
            raise Unfit(TOO_LARGE)
        if asyncio.get_running_loop().time() >= self.until:
            raise Unfit(TOO_LATE)

    def take(self, size_bytes: int) -> None:
        """Raises Unfit."""
        if size_bytes > self._bytes_left:
            self._is_spent = True
            raise Unfit(TOO_LARGE)
        self._bytes_left -= size_bytes
