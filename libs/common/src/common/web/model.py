"""The base of what HTTP carries in and out."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from common.messages import wrong


class Model(BaseModel):
    """A request's or an answer's shape: unknown fields are ignored, aliases go out, both names come in.

    Text with NUL or lone surrogates never gets here: the edge refuses it before validation, because PostgreSQL cannot store it.
    """

    model_config = ConfigDict(extra="ignore", serialize_by_alias=True, validate_by_alias=True, validate_by_name=True, hide_input_in_errors=True)


class Query(Model):
    """A query string's shape; an empty value is an absent one."""


def _render_moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).isoformat(timespec='milliseconds')[:-6]}Z"


Moment = Annotated[
    datetime,
    PlainSerializer(_render_moment, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A time that goes out in UTC with milliseconds and `Z`."""


def _no_truth(given: Any) -> Any:
    if isinstance(given, bool):
        raise wrong("integer")
    return given


Whole = Annotated[int, BeforeValidator(_no_truth)]
"""A whole number in a request; `true` is none, though Python counts it as 1."""
