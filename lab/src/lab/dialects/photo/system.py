"""The photo dialect: health and workflows' calls."""

from lab.dialects.photo.words import row
from lab.dialects.rows import Refusal, Row, at
from lab.dialects.shapes import WORD, OneOf
from lab.dialects.world import UNKNOWN

SYSTEM: tuple[Row, ...] = (
    row("GET", "/health", "none", "Whether all is well", {"status": OneOf(("healthy", "degraded")), "timestamp": WORD, "uptime": float}, at("/health")),
    row("GET", "/api/health", "none", "The same", {"status": OneOf(("healthy", "degraded")), "timestamp": WORD, "uptime": float}, at("/api/health")),
    row(
        "POST",
        "/api/callback/task-complete",
        "callback",
        "A workflow is done; only a signed call counts",
        None,
        at("/api/callback/task-complete", json={"task_id": UNKNOWN, "images": []}),
        Refusal(401, 10002, "unsigned", at("/api/callback/task-complete", json={"task_id": UNKNOWN, "images": []})),
        takes={"task_id": "id", "images": "[{url, format, batch_index, width?, height?}]", "ai_description": "text"},
    ),
    row(
        "POST",
        "/api/callback/task-failed",
        "callback",
        "A workflow failed; only a signed call counts",
        None,
        at("/api/callback/task-failed", json={"task_id": UNKNOWN, "error": "x"}),
        Refusal(401, 10002, "unsigned", at("/api/callback/task-failed", json={"task_id": UNKNOWN, "error": "x"})),
        takes={"task_id": "id", "error": "text"},
    ),
)
