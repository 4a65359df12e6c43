"""Our side of a bench: Darkroom started by its own command in a scratch folder, with users who have a photo and credits."""
import io
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from lab import cpu
from lab.children import Children, NotStarted
from lab.side import Side, User

DARKROOM = Path(sys.executable).parent / "darkroom"
SERVICES = ("gateway", "identity", "works", "generation", "billing", "notify")
CREDITS = 10_000_000
READY_SECONDS_MAX = 180.0


@contextmanager
def running_suite(scratch: Path, *, bus: str, users: int) -> Iterator[Side]:
    """The suite with the instant provider and without limits, ready: one process on `memory`, six on `kafka`."""
    scratch = scratch.absolute()
    scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="ours-", dir=scratch))
    children = Children(folder)
    name = "darkroom"
    try:
        flags = ["--kafka", "--separate"] if bus == "kafka" else []
        pid = children.start(name, [DARKROOM, "up", "--roomy", "--provider", "instant", *flags], cwd=folder)
        environment: dict[str, str] = {}
        children.wait_ready(name, lambda: is_ready(folder, environment), seconds_max=READY_SECONDS_MAX)
        url = environment["DARKROOM_URL"]
        people = make_users(folder, url, users)
        roots = find_processes(folder, pid)
        application = tuple(label for label in roots if label not in ("postgresql", "kafka"))
        yield Side(name=f"darkroom on {bus}", url=url, users=people, roots=roots, application=application)
    finally:
        children.stop(seconds_max=40)
        shutil.rmtree(folder, ignore_errors=True)


def is_ready(folder: Path, environment: dict[str, str]) -> bool:
    """Whether the command says it runs and the gateway says that everything is healthy."""
    environment.update(read_environment(folder))
    return "DARKROOM_URL" in environment and _is_healthy(environment["DARKROOM_URL"])


def read_environment(folder: Path) -> dict[str, str]:
    """What `darkroom status -o env` says; empty while nothing runs."""
    done = subprocess.run([DARKROOM, "status", "-o", "env"], cwd=folder, capture_output=True, text=True, check=False)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line) if done.returncode == 0 else {}


def find_processes(folder: Path, pid: int) -> dict[str, list[int]]:
    """Our processes by what they are: those we started, and databases and brokers that belong to the folder."""
    stats = cpu.read_stats()
    ours = set(cpu.members({"suite": [pid]}, stats)["suite"]) | set(cpu.under(folder))
    roots: dict[str, list[int]] = {}
    for each in sorted(ours):
        if label := _label(cpu.command_line(each)):
            roots.setdefault(label, []).append(each)
    roots.setdefault("suite", []).append(pid)
    return roots


def _label(line: str) -> str | None:
    program = Path(line.split(" ", 1)[0]).name
    if program.startswith("postgres"):
        return "postgresql"
    if program == "java":
        return "kafka"
    return next((service for service in SERVICES if f"-m {service}" in line or line.startswith(f"darkroom: {service}")), None)


def make_users(folder: Path, url: str, count: int) -> list[User]:
    """Sign up, give credits, and let the first upload the photo whose signed URL all of them use."""
    with ThreadPoolExecutor(4) as pool:
        people = list(pool.map(lambda number: sign_up(url, number), range(count)))
    image_url = upload(url, people[0][1])
    for user_id, _ in people:
        grant(folder, user_id)
    return [User(token, image_url) for _, token in people]


def sign_up(url: str, number: int) -> tuple[str, str]:
    """A new account: its id and its token."""
    name = f"bench{number:04d}"
    answer = call(f"{url}/users", {"username": name, "email": f"{name}@example.com", "password": uuid.uuid4().hex})
    return str(answer["objectId"]), str(answer["sessionToken"])


def grant(folder: Path, user_id: str) -> None:
    """More credits than the bench can spend."""
    done = subprocess.run([DARKROOM, "grant", user_id, str(CREDITS)], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotStarted(f"darkroom grant failed: {(done.stdout + done.stderr).strip()[-400:]}")


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
