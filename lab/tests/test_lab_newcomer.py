"""What somebody new waits for: a command that fails or takes too long is said, and only that."""

from pathlib import Path

import pytest

from lab.newcomer import Wait, Waited, report, run, waits


def _wait(target: str, seconds_max: float = 60) -> Wait:
    return Wait("a command", "clone", target, seconds_max, {"SAID": "by the environment"})


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    lines = ["well:", "\t@true", "broken:", "\t@echo why it broke, $$SAID", "\t@false", ""]
    (tmp_path / "Makefile").write_text("\n".join(lines))
    return tmp_path


def test_a_command_that_ends_well_in_time_is_well(clone: Path) -> None:
    assert run(_wait("well"), clone).verdict == ""


def test_a_command_that_fails_is_told_with_what_it_printed(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waited = run(_wait("broken"), clone)
    assert waited.verdict == "failed"
    assert "why it broke, by the environment" in capsys.readouterr().err


def test_a_command_that_takes_longer_than_it_may_is_too_long(clone: Path) -> None:
    waited = run(_wait("well", seconds_max=0), clone)
    assert waited.verdict == "too long"
    assert "too long" in report([waited])


def test_the_first_demo_finds_nothing_downloaded_and_the_next_what_it_left(tmp_path: Path) -> None:
    demos = waits(tmp_path, with_tests=False)
    assert [one.seconds_max for one in demos] == [180, 30, 30]
    assert {one.environment["XDG_CACHE_HOME"] for one in demos} == {str(tmp_path)}
    assert demos[0].clone != demos[1].clone


def test_the_tests_are_waited_for_only_when_asked_and_with_every_part(tmp_path: Path) -> None:
    last = waits(tmp_path, with_tests=True)[-1]
    assert (last.target, last.seconds_max, last.environment) == ("test", 900, {"CI": "true"})
    assert last.clone not in {one.clone for one in waits(tmp_path, with_tests=False)}


def test_the_verdict_of_a_failure_is_no_matter_of_time() -> None:
    assert Waited(_wait("well", seconds_max=0), code=2, seconds=1).verdict == "failed"
