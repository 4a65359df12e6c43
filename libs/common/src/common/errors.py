"""Every refusal Darkroom can answer: one tree, each with code, slug, status and whether trying again can help."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field; `field` is a dotted path."""

    field: str
    message: str


class ServiceError(Exception):
    """A refusal with a public meaning. `data` is shown to the caller, `detail` too: neither may hold secrets."""

    code: ClassVar[int] = 10000
    slug: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    photo_status: ClassVar[int | None] = None
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str | None = None,
        *,
        data: Mapping[str, Any] | None = None,
        errors: Sequence[FieldError] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(detail or self.slug)
        self.detail = detail
        self.data = dict(data) if data is not None else None
        self.errors = tuple(errors)
        self.retry_after_seconds = retry_after_seconds


class Internal(ServiceError):
    """A fault of ours."""


class InvalidParameter(ServiceError):
    code, slug, status = 10001, "invalid-parameter", 400

    @classmethod
    def of(cls, field: str, message: str) -> "InvalidParameter":
        """A refusal that names one field."""
        return cls(f"{field}: {message}", errors=[FieldError(field, message)])


class Unauthorized(ServiceError):
    code, slug, status = 10002, "unauthorized", 401


class Forbidden(ServiceError):
    code, slug, status = 10003, "forbidden", 403


class RateLimited(ServiceError):
    code, slug, status, retryable = 10004, "rate-limited", 429, True


class Conflict(ServiceError):
    code, slug, status = 10005, "conflict", 409


class IdempotencyKeyReused(ServiceError):
    code, slug, status = 10006, "idempotency-key-reused", 422


class Unavailable(ServiceError):
    """Not now; always answered with Retry-After."""

    code, slug, status, retryable = 10007, "unavailable", 503, True

    def __init__(
        self, detail: str | None = None, *, data: Mapping[str, Any] | None = None, errors: Sequence[FieldError] = (), retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(detail, data=data, errors=errors, retry_after_seconds=retry_after_seconds or 1)


class Overloaded(Unavailable):
    """Too many are waiting already."""


class NotAsked(Unavailable):
    """Nobody was there to be asked: what was wanted has surely not happened."""


class NotFound(ServiceError):
    code, slug, status = 10008, "not-found", 404


class PayloadTooLarge(ServiceError):
    """A body over the route's limit that is not a file."""

    code, slug, status = 10001, "invalid-parameter", 413


class MethodNotAllowed(ServiceError):
    code, slug, status = 10001, "invalid-parameter", 405


class UnsupportedMediaType(ServiceError):
    """A body of another kind than the route takes."""

    code, slug, status = 10001, "invalid-parameter", 415


class UserNotFound(ServiceError):
    code, slug, status = 20000, "user-not-found", 404


class WrongPassword(ServiceError):
    code, slug, status = 20001, "wrong-password", 401


class EmailUnverified(ServiceError):
    code, slug, status = 20002, "email-unverified", 403


class AccountDisabled(ServiceError):
    code, slug, status, photo_status = 20003, "account-disabled", 403, 401


class WorkNotFound(ServiceError):
    code, slug, status = 30000, "work-not-found", 404


class WorkCreateFailed(ServiceError):
    code, slug, status = 30001, "work-create-failed", 422


class WorkUpdateFailed(ServiceError):
    code, slug, status = 30002, "work-update-failed", 409


class WorkDeleteFailed(ServiceError):
    code, slug, status = 30003, "work-delete-failed", 409


class InsufficientCredits(ServiceError):
    code, slug, status, photo_status = 40000, "insufficient-credits", 402, 400

    @classmethod
    def of(cls, *, required: int, current: int) -> "InsufficientCredits":
        """A refusal with the numbers clients show."""
        return cls(data={"required": required, "current": current, "shortage": required - current})


class PurchaseFailed(ServiceError):
    code, slug, status = 40001, "purchase-failed", 402


class DeductFailed(ServiceError):
    code, slug, status = 40002, "deduct-failed", 409


class RefundFailed(ServiceError):
    code, slug, status = 40003, "refund-failed", 409


class TaskNotFound(ServiceError):
    code, slug, status = 50000, "task-not-found", 404


class TaskNotCancellable(ServiceError):
    code, slug, status = 50001, "task-not-cancellable", 409


class TooManyTasks(ServiceError):
    code, slug, status, retryable = 50005, "too-many-tasks", 429, True


class FileNotFound(ServiceError):
    code, slug, status = 60000, "file-not-found", 404


class FileTooLarge(ServiceError):
    code, slug, status = 60001, "file-too-large", 413


class FileTypeRefused(ServiceError):
    code, slug, status = 60002, "file-type-refused", 415


class FileUnreadable(ServiceError):
    code, slug, status = 60003, "file-unreadable", 400


class QuotaExceeded(ServiceError):
    """What a user keeps would grow past what they may keep."""

    code, slug, status = 60004, "quota-exceeded", 413


class SceneNotFound(ServiceError):
    code, slug, status = 70000, "scene-not-found", 404


class ConfigKeyUnknown(ServiceError):
    code, slug, status = 70001, "config-key-unknown", 404


def every_error(root: type[ServiceError] = ServiceError) -> dict[str, type[ServiceError]]:
    """Every refusal by class name, so that one service can raise what another answered."""
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(every_error(child))
    return found
