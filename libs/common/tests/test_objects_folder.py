"""Objects in a folder of this machine, and which store a URL names."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from common.objects import FolderObjects, S3Objects, S3Place, open_objects, open_store
from common.settings import ServiceSettings, SettingsError, service_config
from common.testing.doors import Passes

KEY = "results/01890000-0000-7000-8000-000000000001/0-" + "ab" * 32 + ".webp"


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[FolderObjects]:
    async with FolderObjects(tmp_path / "objects") as opened:
        yield opened


async def test_a_put_that_fails_leaves_nothing_behind(objects: FolderObjects, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await objects.put_file(KEY, tmp_path / "absent", "image/webp")
    assert await objects.stat(KEY) is None
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


def test_what_a_killed_process_was_writing_is_removed_at_the_next_start(tmp_path: Path) -> None:
    dies = "_write(root / 'uploads/u/a.jpg', root, lambda file: (file.write(b'half'), file.flush(), os.kill(os.getpid(), signal.SIGKILL)))"
    script = f"import os, signal, sys\nfrom pathlib import Path\nfrom common.objects.folder import _write\nroot = Path(sys.argv[1])\n{dies}"
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -signal.SIGKILL
    [left] = [path for path in tmp_path.rglob("*") if path.is_file()]
    FolderObjects(tmp_path)
    assert left.is_file(), "somebody may be writing it now"
    os.utime(left, (time.time() - 7200, time.time() - 7200))
    FolderObjects(tmp_path)
    assert not left.exists()


async def test_work_happens_in_a_bounded_pool_of_threads(objects: FolderObjects) -> None:
    await asyncio.gather(*[objects.put(f"uploads/u/{number}.jpg", b"x" * 1000, "image/jpeg") for number in range(100)])
    assert sum(thread.name.startswith("objects") for thread in threading.enumerate()) <= 8


def test_the_url_in_settings_decides_the_store(tmp_path: Path) -> None:
    settings = Passes().settings(_Settings, "works", tmp_path)
    assert isinstance(open_objects(settings.shared), FolderObjects)
    keys = {"objects_access_key": "us", "objects_secret_key": SecretStr("known to us")}
    assert isinstance(open_objects(settings.shared.model_copy(update={"objects_url": "s3://bucket", **keys})), S3Objects)
    for url, word in (("s3://bucket", "SECRET_KEY is missing"), ("ftp://x", "not known"), ("relative/folder", "not known"), ("file://relative", "not known")):
        shared = settings.shared.model_copy(update={"objects_url": url})
        with pytest.raises(SettingsError, match=word):
            open_objects(shared)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match="cannot be made"):
        FolderObjects(tmp_path / "file" / "objects")


class _Settings(ServiceSettings):
    model_config = service_config("WORKS_")
    port: int = 8102


def test_a_buckets_url_says_where_it_is() -> None:
    place = S3Place.of("s3://photos?endpoint=http%3A%2F%2F127.0.0.1%3A8133&region=eu-west-3&public=https://files.example", "us", "known to us")
    assert (place.bucket, place.region, place.endpoint, place.public) == ("photos", "eu-west-3", "http://127.0.0.1:8133", "https://files.example")
    plain = S3Place.of("s3://photos", "us", "known to us")
    assert (plain.region, plain.endpoint, plain.public) == ("us-east-1", None, None)
    assert "known to us" not in repr(place)


def test_everything_wrong_with_a_buckets_url_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        open_store("s3:///folder?endpoint=127.0.0.1&bucket=x")
    faults = str(caught.value)
    for word in ("a bucket and nothing else", "endpoint must begin with", "bucket is not known", "ACCESS_KEY is missing", "SECRET_KEY is missing"):
        assert word in faults


async def test_boto3_is_not_imported_before_it_is_needed(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = "import sys, common.objects as o; o.open_store('s3://b', 'us', 'x'); print('boto3' in sys.modules)"
    child: Any = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert child.stdout.strip() == "False"
