"""One JSON line per event: structlog onto bytes, with service, request and trace of whoever logs; secrets never get through."""

import asyncio
import contextlib
import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, BinaryIO, Literal, cast

import orjson
import structlog
from pydantic import BaseModel

from common.trace import current_trace

Level = Literal["debug", "info", "warning", "error"]

_LEVELS: Mapping[str, int] = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_HIDDEN = "[hidden]"
_QUICK_SECONDS = 0.2
_SECRET_NAME = re.compile(r"(?i)(password|passwd|secret|token|authorization|cookie|api_?key|private|signature|credential|body)$")
_SECRET_TEXT = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s/@]+@|(?P<bearer>(?i:bearer)\s+)[\w.~+/=-]+|eyJ[\w-]+\.[\w-]+\.[\w-]*")

# In one variable of ours, because structlog keeps one per field and walks through all there are to find them.
_bound: ContextVar[Mapping[str, object]] = ContextVar("bound", default=MappingProxyType({}))


def configure(*, level: Level = "info", to: BinaryIO | None = None) -> None:
    """Set up logging of the whole process; also what libraries say through `logging` comes out as lines of ours."""
    global _quick
    output = _Lossy(to or sys.stdout.buffer)
    _quick = _Quick(output) if _LEVELS[level] <= logging.INFO else None
    structlog.configure(
        processors=[
            _add_bound,
            _add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            _hide_secrets,
            structlog.processors.JSONRenderer(serializer=_to_bytes),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.BytesLoggerFactory(file=cast(BinaryIO, output)),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, _Forward)]:
        root.removeHandler(handler)
    root.addHandler(_Forward())
    root.setLevel(max(_LEVELS[level], logging.INFO))
    logging.getLogger("aiokafka.cluster").setLevel(logging.CRITICAL)


class _Lossy:
    """An output that may be full, or whose reader may have gone: then lines are lost, and not the work that they tell of."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output

    def write(self, line: bytes) -> None:
        try:
            self._output.write(line)
        except OSError:
            return

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._output.flush()


class _Quick:
    """Writes lines whose fields are all ours, without the pipeline; gathered for a moment, because a system call per request costs more than its line."""

    def __init__(self, output: _Lossy) -> None:
        self._output = output
        self._pending = False

    def write(self, event: str, fields: Mapping[str, Any]) -> None:
        line: dict[str, Any] = {**_bound.get(), **fields, "event": event, "level": "info", "at": datetime.now(UTC)}
        _add_trace(None, "", line)
        self._output.write(orjson.dumps(line, default=_plain, option=orjson.OPT_APPEND_NEWLINE))
        if not self._pending:
            self._pending = True
            asyncio.get_running_loop().call_later(_QUICK_SECONDS, self._flush)

    def _flush(self) -> None:
        self._pending = False
        with contextlib.suppress(ValueError):  # closed meanwhile, as tests do
            self._output.flush()


_quick: _Quick | None = None


def say_quickly(event: str, fields: Mapping[str, Any]) -> None:
    """An info line of a hot path. Only for fields that cannot hold a secret: names of ours, numbers, patterns."""
    if _quick is not None:
        _quick.write(event, fields)
    else:
        structlog.get_logger().info(event, **fields)


def get_logger() -> Any:
    """A logger: `log.info("task.claimed", task_id=...)`; an event is a name, what varies is a field."""
    return structlog.get_logger()


def enabled(level: Level) -> bool:
    """Whether lines of this level come out, so that hot paths need not prepare them."""
    logger = structlog.get_logger()
    return bool(logger.is_enabled_for(_LEVELS[level])) if hasattr(logger, "is_enabled_for") else True


def bind(**fields: object) -> None:
    """Add fields (service, task_id) to every line logged from this task and the tasks it starts."""
    _bound.set({**_bound.get(), **fields})


def without_secrets(text: str) -> str:
    """The text with passwords in addresses, bearers and tokens taken out."""
    return _SECRET_TEXT.sub(_hide_match, text)


class _Forward(logging.Handler):
    """Carries the standard library's log records over to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Any] = {"logger": record.name, "said": record.getMessage()}
            if record.exc_info and record.exc_info[0] is not None:
                fields["exc_info"] = record.exc_info
            structlog.get_logger().log(record.levelno, "library.said", **fields)
        except Exception:
            self.handleError(record)


def _add_bound(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {**_bound.get(), **event}


def _add_trace(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    trace = current_trace.get()
    if trace is not None:
        if trace.correlation_id:
            event.setdefault("request_id", trace.correlation_id)
        if trace.traceparent:
            event.setdefault("trace_id", trace.traceparent[3:35])
    return event


def _hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        event[name] = _HIDDEN if _SECRET_NAME.search(name) else _clean(value)
    return event


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {str(key): _HIDDEN if _SECRET_NAME.search(str(key)) else _clean(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(inner) for inner in value]
    return value


def _hide_match(match: re.Match[str]) -> str:
    if match["scheme"]:
        return f"{match['scheme']}:{_HIDDEN}@"
    return f"{match['bearer']}{_HIDDEN}" if match["bearer"] else _HIDDEN


def _to_bytes(event: Any, **_options: Any) -> bytes:
    try:
        return orjson.dumps(event, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, RecursionError):
        # A number beyond 64 bits, text that is no Unicode: whatever it is, a line must not be lost to it.
        plain = {str(name): value if isinstance(value, (bool, float)) else str(value) for name, value in event.items()}
        return json.dumps(plain, ensure_ascii=False).encode(errors="replace")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return type(value).__name__
    return without_secrets(str(value))
