"""docs/dialects.md, made from the table: what clients of both dialects may send and will get."""

import json
from collections.abc import Iterable
from pathlib import Path

from lab.dialects.rows import Refusal, Row
from lab.dialects.shapes import shown

PAGE = Path(__file__).parents[4] / "docs" / "dialects.md"
TITLES = {"photo": "The photo dialect", "song": "The song dialect"}
_AUTH = {
    "none": "nobody needs a token",
    "optional": "a token is looked at, not needed",
    "user": "a user's token",
    "admin": "a token with role admin",
    "callback": "the caller's signature",
    "frame": "a user's token in the first frame",
}
_HEAD = """# The two dialects

Every path of both public interfaces: who may ask, what is sent, what is answered, and every refusal. Made from the table in `lab/src/lab/dialects/`
by `python -m lab.dialects`; every row runs against a live suite through the gateway in `tests/test_dialects.py`.

What neither dialect has (`/v1/...`: prices, uploads in parts, notices, refunds ...) is described at `/docs` and in `/openapi.json` of a running suite.

## Asking

`Authorization: Bearer <token>` says who asks. A login or sign-up answers the token, as `data.token` or, in the song dialect, as `sessionToken`; the song
dialect's paths take it as `X-LC-Session: <token>` too.

`Accept-Language: en` asks for English sentences. Without it both dialects speak Chinese (`zh`), and `/v1/...` speaks English. Names and codes stay the same.

`Idempotency-Key: <1 to 255 visible characters>` names one attempt, so that it may be sent again. It is taken by uploads, by `POST` of `/api/tasks/create`,
`/api/credits/recharge`, `/api/scenes`, `/users`, `/works`, `/music/tasks`, `/points/purchase` and `/v1/admin/notices`, and by
`PUT /api/admin/users/:user_id`; elsewhere it does nothing. The same key and body are answered with what was made before and `Idempotent-Replayed: true`;
the same key with another body is 422/10006.

## Answers

Answers may gain fields; those named here stay. Besides the refusals of a row: a route that wants a token answers 401/10002 without a good one, an admin
route 403/10003 to everybody else; a disabled account gets 20003 everywhere (401 in the photo dialect, 403 in the other); a body that is not JSON gets
400/10001, an unknown path 404/10008, a method the path does not have 405/10001, a body that is too large 413, too many requests 429/10004 and a part that
is away 503/10007, both with `Retry-After`.

The photo dialect's refusals are `{success: false, message, data?, errors?}`, the song dialect's `{code, message, details, timestamp}`; the number is always
in `X-Error-Code` too. A 400/10001 names the fields: `errors` (song: `details.errors`) is `[{field, message}]`. What a refusal says besides is in its row:
the keys of `data` (song: of `details`).
"""


def render(rows: Iterable[Row]) -> str:
    """The whole page."""
    rows = list(rows)
    parts = [_HEAD]
    for dialect, title in TITLES.items():
        mine = [row for row in rows if row.dialect == dialect]
        parts.append(f"## {title}\n\n| | path | for | what |\n|---|---|---|---|\n" + "\n".join(_line(row) for row in mine) + "\n")
        parts += [_section(row) for row in mine]
    return "\n".join(parts)


def _line(row: Row) -> str:
    return f"| {row.method} | `{row.path}` | {row.auth} | {row.about} |"


def _section(row: Row) -> str:
    said = [f"### {row.method} {row.path}\n", f"{row.about}. Wants: {_AUTH[row.auth]}.\n"]
    if row.note:
        said.append(f"{row.note}\n")
    if row.takes:
        said.append("| takes | |\n|---|---|\n" + "\n".join(f"| `{name}` | {what} |" for name, what in row.takes.items()) + "\n")
    if row.shape is not None:
        said.append(f"{'Frames' if row.method == 'WS' else row.status}:\n\n```\n{json.dumps(shown(row.shape), indent=2, ensure_ascii=False)}\n```\n")
    if row.refusals:
        said.append(_refused_head(row) + "\n".join(_refusal(each, row) for each in row.refusals) + "\n")
    return "\n".join(said)


def _refused_head(row: Row) -> str:
    return "| closed with | when |\n|---|---|\n" if row.method == "WS" else "| refused | code | when | says |\n|---|---|---|---|\n"


def _refusal(refusal: Refusal, row: Row) -> str:
    if row.method == "WS":
        return f"| {refusal.status} | {refusal.why} |"
    says = f"`{json.dumps(shown(refusal.data))}`" if refusal.data is not None else ""
    return f"| {refusal.status} | {refusal.code} | {refusal.why} | {says} |"
