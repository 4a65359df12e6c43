"""Every refusal Darkroom can answer: one tree, each with code, slug, status and whether trying again can help."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

from common.messages import Lang, field_text


class FieldError(NamedTuple):
    """What is wrong with one field: `field` is a dotted path, `slug` and `params` are a sentence of `common.messages.field_text`."""

    field: str
    slug: str
    params: Mapping[str, Any] = MappingProxyType({})

    def text(self, lang: Lang) -> str:
        """The sentence."""
        return field_text(self.slug, lang, self.params)

    def to_wire(self) -> dict[str, Any]:
        """For another service, whose reader's language is not known here."""
        return {"field": self.field, "message": self.text("en"), "slug": self.slug, "params": dict(self.params)}

    @classmethod
    def from_wire(cls, said: Mapping[str, Any]) -> Self:
        """What another service said, which may be newer and know sentences that are not known here."""
        field, slug, params = said.get("field"), said.get("slug"), said.get("params")
        error = cls(str(field), str(slug), params if isinstance(params, dict) else {})
        try:
            error.text("en")
        except LookupError:
            return cls(str(field), "invalid")
        return error


class ServiceError(Exception):
    """A refusal with a public meaning. `data` is shown to the caller, `detail`, which is English, too: neither may hold secrets.

    Without a detail of its own it says what is wrong with the fields. Raises LookupError for a field's sentence that is not in the catalogue.
    """

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
        self.errors = tuple(errors)
        self.detail = detail or self.fields_text("en")
        super().__init__(self.detail or self.slug)
        self.data = dict(data) if data is not None else None
        self.retry_after_seconds = retry_after_seconds

    @classmethod
    def of(cls, field: str, slug: str, **params: Any) -> Self:
        """A refusal that names one field, and by a slug of `common.messages` what is wrong with it."""
        return cls(errors=[FieldError(field, slug, params)])

    def fields_text(self, lang: Lang) -> str | None:
        """What is wrong with the fields, in one line."""
        return "; ".join(f"{one.field}: {one.text(lang)}" for one in self.errors) or None


class Internal(ServiceError):
    """A fault of ours."""


class InvalidParameter(ServiceError):
    code, slug, status = 10001, "invalid-parameter", 400


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
    def lacking(cls, *, required: int, current: int) -> "InsufficientCredits":
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
