"""The peer: starts Express, BullMQ, MariaDB and Redis in a folder of their own and tears them down."""

import base64
import hashlib
import hmac
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.children import Children, NotStarted, accepts, free_ports
from lab.side import Side, User

SOURCE = Path(__file__).parents[2] / "peer"
SECRET = "the peer signs with this, on loopback only"
PROGRAMS = {
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "redis-server": "redis-server",
    "node": "nodejs",
    "npm": "npm",
}
"""What the peer needs -> the Debian package that has it."""
FIRST_WORDS = """\
create database peer;
create user peer@'127.0.0.1' identified by 'peer';
grant all on peer.* to peer@'127.0.0.1';
"""
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def find_programs() -> dict[str, str]:
    """Where each program the peer needs is; raises with the packages to install."""
    found = {program: shutil.which(program, path=PATH) for program in PROGRAMS}
    missing = sorted({PROGRAMS[program] for program, path in found.items() if path is None})
    if missing:
        raise NotStarted(f"the peer needs {', '.join(missing)}; on Debian: apt-get install --no-install-recommends {' '.join(missing)}")
    return {program: path for program, path in found.items() if path is not None}


@contextmanager
def running_peer(scratch: Path, *, users: int) -> Iterator[Side]:
    """The whole stack, ready, with as many rich users as asked for."""
    programs = find_programs()
    install_packages(programs["npm"])
    scratch = scratch.absolute()
    scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="peer-", dir=scratch))
    children = Children(folder)
    try:
        mysql_port, redis_port, http_port = free_ports(3)
        mariadb = start_mariadb(children, programs, folder, mysql_port)
        redis = start_redis(children, programs, folder, redis_port)
        env = {
            "NODE_ENV": "production",
            "PEER_PORT": str(http_port),
            "PEER_SECRET": SECRET,
            "PEER_ACCOUNTS": str(users),
            "PEER_MYSQL_PORT": str(mysql_port),
            "PEER_REDIS_PORT": str(redis_port),
        }
        url = f"http://127.0.0.1:{http_port}"
        api = children.start("api", [programs["node"], "api.js"], cwd=SOURCE, env=env)
        children.wait_ready("api", lambda: is_healthy(url), seconds_max=30)
        worker = children.start("worker", [programs["node"], "worker.js"], cwd=SOURCE, env=env)
        roots = {"node api": [api], "node worker": [worker], "mariadb": [mariadb], "redis": [redis]}
        image = "https://files.example/" + "0" * 64 + ".jpg?exp=1&sig=" + "0" * 43
        people = [User(sign(number), image) for number in range(users)]
        yield Side(name="peer", url=url, users=people, roots=roots, application=("node api", "node worker"))
    finally:
        children.stop()
        shutil.rmtree(folder, ignore_errors=True)


def install_packages(npm: str) -> None:
    """Install the Node packages unless they are there and newer than their list."""
    listed, installed = SOURCE / "package.json", SOURCE / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= listed.stat().st_mtime:
        return
    done = subprocess.run([npm, "install", "--no-package-lock"], cwd=SOURCE, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotStarted(f"npm install failed: {done.stderr.strip()[-600:]}")
    installed.touch()


def start_mariadb(children: Children, programs: dict[str, str], folder: Path, port: int) -> int:
    """MariaDB with a flushed log at every commit; its process id."""
    data = folder / "mariadb"
    user = pwd.getpwuid(os.geteuid()).pw_name
    setup = [programs["mariadb-install-db"], "--no-defaults", f"--datadir={data}", f"--user={user}", "--skip-test-db"]
    done = subprocess.run([*setup, "--auth-root-authentication-method=normal"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotStarted(f"mariadb-install-db failed: {(done.stdout + done.stderr).strip()[-600:]}")
    first_words = folder / "first.sql"
    first_words.write_text(FIRST_WORDS)
    pid = children.start(
        "mariadb",
        [
            programs["mariadbd"],
            "--no-defaults",
            f"--user={user}",
            f"--datadir={data}",
            "--bind-address=127.0.0.1",
            f"--port={port}",
            f"--socket={folder / 's'}",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=1",
            f"--init-file={first_words}",
        ],
    )
    children.wait_ready("mariadb", lambda: accepts(port), seconds_max=60)
    return pid


def start_redis(children: Children, programs: dict[str, str], folder: Path, port: int) -> int:
    """Redis with its append-only file flushed every second; its process id."""
    data = folder / "redis"
    data.mkdir()
    pid = children.start(
        "redis",
        [
            programs["redis-server"],
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--dir",
            data,
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--save",
            "",
        ],
    )
    children.wait_ready("redis", lambda: accepts(port), seconds_max=15)
    return pid


def is_healthy(url: str) -> bool:
    """Whether the API answers."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def sign(user_id: int) -> str:
    """An HS256 token for this user, as the peer's sign-in would give."""
    parts = [{"alg": "HS256", "typ": "JWT"}, {"userId": user_id, "exp": int(time.time()) + 7 * 86_400}]
    text = b".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return (text + b"." + _base64url(hmac.digest(SECRET.encode(), text, hashlib.sha256))).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
