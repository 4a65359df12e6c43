"""Write requirements.lock: every dependency pinned with hashes, no registry host, then the members of the workspace.

`--check` resolves again and fails when the file is stale or a line lacks a hash.
"""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
MEMBERS = ["libs/common", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "services").iterdir() if (p / "pyproject.toml").exists()), "suite", "lab"]


def resolve(*, start_from: Path | None) -> str:
    """The text of the lock; `start_from` keeps the versions already chosen there."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "requirements.lock"
        if start_from is not None:
            out.write_text("\n".join(line for line in start_from.read_text().splitlines() if not line.startswith("-e ")) + "\n")
        names = [tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]["name"] for member in MEMBERS]
        command = [
            str(Path(sys.executable).with_name("uv")),
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--python-version",
            "3.11",
            "--generate-hashes",
            "--no-emit-index-url",
            "--no-emit-find-links",
            "--no-header",
            "--no-annotate",
            "--group",
            "dev",
            "pyproject.toml",
            *[f"{member}/pyproject.toml" for member in MEMBERS],
        ]
        for name in names:
            command += ["--no-emit-package", name]
        subprocess.run([*command, "-o", str(out)], cwd=ROOT, check=True)
        return out.read_text().rstrip("\n") + "\n" + "".join(f"-e ./{member}\n" for member in MEMBERS)


def unhashed(text: str) -> list[str]:
    """Requirements without a hash (editable members aside)."""
    wrapped = text.replace("\\\n", " ")
    return [line.split()[0] for line in wrapped.splitlines() if line.strip() and not line.startswith("-e ") and "--hash=sha256:" not in line]


def main() -> int:
    if "--check" not in sys.argv:
        LOCK.write_text(resolve(start_from=None))
        return 0
    have = LOCK.read_text()
    bare = unhashed(have)
    if bare:
        sys.stderr.write(f"requirements.lock: without a hash: {', '.join(bare)}\n")
        return 1
    if resolve(start_from=LOCK) != have:
        sys.stderr.write("requirements.lock is stale: run `make lock`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
