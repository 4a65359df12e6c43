"""Our side of a bench: Darkroom started by its own command in a scratch folder, with users who have a photo and credits."""

import io
import json
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from common.auth import ServiceTokens, read_private_key
from lab import cpu
from lab.children import Children, NotStarted
from lab.side import Side, User
from suite.home import OPERATOR, Home, State

DARKROOM = Path(sys.executable).parent / "darkroom"
SERVICES = ("gateway", "identity", "works", "generation", "billing", "notify")
PARTS = ("postgresql", "kafka")
FLAGS: Mapping[str, Sequence[str]] = {"memory": (), "kafka": ("--kafka", "--separate", "--warm")}
CREDITS = 10_000_000
GRANTS_PER_CALL = 100
READY_SECONDS_MAX = 180.0


@contextmanager
def running_suite(scratch: Path, *, bus: str, users: int) -> Iterator[Side]:
    """The suite with the instant provider and without limits, ready: one process on `memory`, six on `kafka`."""
    scratch = scratch.absolute()
    scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="ours-", dir=scratch))
    folder.chmod(0o711)  # the database's user passes through
    children = Children(folder)
    home = Home(folder / "home")
    try:
        flags: list[str | Path] = ["--home", home.folder, "--any-ports", "--roomy", "--provider", "instant", *FLAGS[bus]]
        pid = children.start("darkroom", [DARKROOM, "up", *flags], cwd=folder)
        children.wait_ready("darkroom", lambda: is_ready(home), seconds_max=READY_SECONDS_MAX)
        state = home.running_state()
        people = make_users(home, state, users)
        roots = find_processes(home, pid)
        application = tuple(label for label in roots if label not in PARTS)
        yield Side(name=f"darkroom on {bus}", url=state.url, users=people, roots=roots, application=application)
    finally:
        children.stop(seconds_max=60)
        shutil.rmtree(folder, ignore_errors=True)


def is_ready(home: Home) -> bool:
    """Whether the suite says where it is and the gateway says that everything is healthy."""
    state = home.state()
    return state is not None and _is_healthy(state.url)


def find_processes(home: Home, pid: int) -> dict[str, list[int]]:
    """Our processes by what they are: those we started, and databases and brokers that belong to the folder."""
    ours = set(cpu.members({"suite": [pid]}, cpu.read_stats())["suite"]) | set(cpu.under(home.folder))
    roots: dict[str, list[int]] = {"suite": [pid]}
    for each in sorted(ours - {pid}):
        if label := label_of(cpu.command_line(each)):
            roots.setdefault(label, []).append(each)
    return roots


def label_of(line: str) -> str | None:
    """What a command line runs; None for what counts with its parent."""
    program = Path(line.split(" ", 1)[0]).name
    if program.startswith("postgres"):
        return "postgresql"
    if program == "java":
        return "kafka"
    return next((service for service in SERVICES if f" -m {service} serve" in line), None)


def make_users(home: Home, state: State, count: int) -> list[User]:
    """Sign up, give credits, and let the first upload the photo whose signed URL all of them use."""
    with ThreadPoolExecutor(4) as pool:
        people = list(pool.map(lambda number: sign_up(state.url, number), range(count)))
    image_url = upload(state.url, people[0][1])
    for begin in range(0, count, GRANTS_PER_CALL):
        grant(home, state, [user_id for user_id, _ in people[begin : begin + GRANTS_PER_CALL]])
    return [User(token, image_url) for _, token in people]


def sign_up(url: str, number: int) -> tuple[str, str]:
    """A new account: its id and its token."""
    name = f"bench{number:04d}"
    answer = call(f"{url}/users", {"username": name, "email": f"{name}@example.com", "password": uuid.uuid4().hex})
    return str(answer["objectId"]), str(answer["sessionToken"])


def grant(home: Home, state: State, user_ids: Sequence[str]) -> None:
    """More credits than the bench can spend, in one call as the operator (`darkroom grant` does one at a time)."""
    adjustments = [
        {"adjustment_id": str(uuid.uuid4()), "user_id": user_id, "asset": "credit", "amount": CREDITS, "reason": "a bench", "by": OPERATOR}
        for user_id in user_ids
    ]
    token = ServiceTokens(read_private_key(home.key_path(OPERATOR)), OPERATOR).token_for("billing")
    url = state.environment["BILLING_URL"].split(",")[0] + "/internal/adjustments"
    answer = call(url, {"adjustments": adjustments}, {"Authorization": f"Bearer {token}"})
    refused = [outcome for outcome in answer["outcomes"] if not outcome["done"]]
    if refused:
        raise NotStarted(f"billing refused {len(refused)} of {len(user_ids)} grants: {refused[0]}")


def upload(url: str, token: str) -> str:
    """One small photo; its signed URL."""
    picture = io.BytesIO()
    Image.radial_gradient("L").resize((320, 240)).convert("RGB").save(picture, "JPEG")
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = head.encode() + picture.getvalue() + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = call(f"{url}/api/upload/single", body, headers)
    return str(answer["data"]["file_url"])


def call(url: str, body: Mapping[str, object] | bytes, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """POST and read JSON; raises with what was answered."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as refused:
        raise NotStarted(f"{url} answered {refused.code}: {refused.read()[:400]!r}") from None


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
