"""Columns of a batch as array literals.

The driver asks every element of an array parameter whether it is iterable itself, which costs more than encoding it. For numbers and short words a
literal, cast in the statement (`$1::text::integer[]`), costs a third; uuids stay parameters, documents go as one jsonb list.
"""

from collections.abc import Sequence


def numbers(values: Sequence[float | None]) -> str:
    """`{1,2,NULL}`"""
    return f"{{{','.join(['NULL' if value is None else repr(value) for value in values])}}}"


def words(values: Sequence[str | None]) -> str:
    """`{"a","b",NULL}`, with everything escaped that needs it."""
    try:
        joined = '","'.join(values)  # type: ignore[arg-type]
    except TypeError:
        return f"{{{','.join(['NULL' if value is None else _quoted(value) for value in values])}}}"
    if "\\" in joined or joined.count('"') != 2 * (len(values) - 1):
        return f"{{{','.join([_quoted(value) for value in values if value is not None])}}}"
    return f'{{"{joined}"}}' if values else "{}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
