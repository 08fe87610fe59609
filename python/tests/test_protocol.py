"""What the client makes of what a program says, whatever it says."""

from __future__ import annotations

import os
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest
from conftest import Script

from recoup import (
    Checkpoint,
    Client,
    Event,
    FailedError,
    Finding,
    InterruptedRunError,
    OtherEvent,
    PartialError,
    Progress,
    ProtocolError,
    RecoupError,
    RefusedError,
    StageEnd,
    StageStart,
    UnknownError,
    UsageError,
)

RESULT = {"schema": "recoup/1", "event": "result", "kind": "x", "outcome": "pass", "code": 0, "findings": []}


def says(*lines: object, code: int = 0) -> str:
    return "".join(f"print(json.dumps({line!r}))\n" for line in lines) + f"sys.exit({code})\n"


def test_events_come_typed_and_unknown_ones_are_kept(script: Script, tmp_path: Path) -> None:
    program = script(
        says(
            {"event": "stage.start", "stage": "capture", "address": "shop/db"},
            {"event": "progress", "stage": "capture", "address": "shop/db", "bytes": 5, "items": 1},
            {
                "event": "finding",
                "id": "E0503",
                "severity": "high",
                "address": "a",
                "message": "m",
                "fix": "f",
            },
            {"event": "checkpoint", "stage": "store", "message": "durable"},
            {"event": "stage.end", "stage": "capture", "address": "shop/db", "seconds": 1, "outcome": "pass"},
            {"event": "weather", "sky": "blue"},
            {**RESULT, "kind": "backup", "point": "p1", "run": "b1"},
        )
    )
    heard: list[Event] = []
    result = Client(tmp_path, binary=program).backup(on_event=heard.append)
    assert heard == [
        StageStart("capture", "shop/db"),
        Progress("capture", "shop/db", 5, None, 1, None),
        Finding("E0503", "high", "a", "m", "f"),
        Checkpoint("store", "durable"),
        StageEnd("capture", "shop/db", 1.0, "pass", ""),
        OtherEvent("weather", {"event": "weather", "sky": "blue"}),
    ]
    assert (result.point, result.run, result.ok) == ("p1", "b1", True)


@pytest.mark.parametrize(
    ("code", "outcome", "kind"),
    [
        (1, "fail", FailedError),
        (2, "fail", UsageError),
        (3, "unknown", UnknownError),
        (4, "partial", PartialError),
        (5, "refused", RefusedError),
        (6, "unknown", InterruptedRunError),
    ],
)
def test_every_exit_code_is_its_own_error(
    script: Script, tmp_path: Path, code: int, outcome: str, kind: type[RecoupError]
) -> None:
    finding = {"id": "R0207", "severity": "high", "address": "media", "message": "gone", "fix": "look"}
    answer = {**RESULT, "outcome": outcome, "code": code, "findings": [finding], "resume": "recoup resume r1"}
    with pytest.raises(kind) as caught:
        Client(tmp_path, binary=script(says(answer, code=code))).drill()
    error = caught.value
    assert isinstance(error, RecoupError)
    assert (error.code, error.hint, error.exit_code) == ("R0207", "look", code)
    assert error.resume_command == "recoup resume r1"
    assert error.findings[0].message == "gone"
    assert error.result is not None
    assert error.result.outcome == outcome


def test_an_error_document_names_code_effect_and_hint(script: Script, tmp_path: Path) -> None:
    error = {"code": "E0412", "message": "could not open", "hint": "the other password", "effect": "none"}
    program = script(says({**RESULT, "outcome": "unknown", "error": error}, code=3))
    with pytest.raises(UnknownError, match="could not open") as caught:
        Client(tmp_path, binary=program).status()
    assert (caught.value.code, caught.value.hint) == ("E0412", "the other password")
    assert caught.value.effect == "none"


def test_status_is_an_answer_even_when_it_is_bad(script: Script, tmp_path: Path) -> None:
    sources = [{"address": "shop/db", "class": "critical"}]
    answer = {**RESULT, "outcome": "fail", "contract": "not met", "sources": sources}
    status = Client(tmp_path, binary=script(says(answer, code=1))).status()
    assert (status.ok, status.contract) == (False, "not met")
    assert status.source("db").class_name == "critical"
    with pytest.raises(KeyError):
        status.source("cache")


def test_fields_of_a_wrong_type_count_as_missing(script: Script, tmp_path: Path) -> None:
    answer = {**RESULT, "points": [{"id": 7, "time": "yesterday", "sources": "none"}, "x"]}
    (point,) = Client(tmp_path, binary=script(says(answer))).points()
    assert (point.id, point.time, point.sources) == ("", None, ())


def test_times_are_read_to_the_microsecond(script: Script, tmp_path: Path) -> None:
    answer = {**RESULT, "points": [{"id": "p", "time": "2026-11-22T08:31:07.123456789Z"}]}
    (point,) = Client(tmp_path, binary=script(says(answer))).points()
    assert point.time == datetime(2026, 11, 22, 8, 31, 7, 123456, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "body",
    [
        "print('hello')",
        "print('[1]')",
        "sys.stderr.write('thread panicked'); sys.exit(101)",
        "print(json.dumps({'event': 'result', 'schema': 'recoup/9'}))",
        "os.kill(os.getpid(), signal.SIGKILL)",
    ],
)
def test_no_result_is_never_a_success(script: Script, tmp_path: Path, body: str) -> None:
    with pytest.raises(ProtocolError):
        Client(tmp_path, binary=script(body)).backup()


def test_a_usage_error_without_document_says_what_the_program_said(script: Script, tmp_path: Path) -> None:
    program = script("sys.stderr.write('error: unexpected argument\\n'); sys.exit(2)")
    with pytest.raises(UsageError, match="unexpected argument"):
        Client(tmp_path, binary=program).backup("--nonsense")


def test_leaving_early_stops_the_program_and_waits(script: Script, tmp_path: Path) -> None:
    program = script(
        "def end(*_):\n"
        "    open(os.path.join(os.getcwd(), 'stopped'), 'w').close(); os._exit(130)\n"
        "signal.signal(signal.SIGINT, end)\n"
        "print(json.dumps({'event': 'stage.start', 'stage': 's', 'address': 'a'}), flush=True)\n"
        "time.sleep(60)\n"
    )
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        with Client(tmp_path, binary=program).stream("backup") as run:
            assert next(iter(run)) == StageStart("s", "a")
    finally:
        os.chdir(here)
    assert run.exit_code == 130
    assert (tmp_path / "stopped").exists()


def test_a_talkative_program_does_not_block(script: Script, tmp_path: Path) -> None:
    program = script(f"[sys.stderr.write('y' * 999 + '\\n') for _ in range(2000)]\n{says(RESULT)}")
    run = Client(tmp_path, binary=program).stream("backup")
    with run:
        assert list(run) == []
    assert 0 < len(run.stderr) <= 66_000


def test_naive_times_are_refused(script: Script, tmp_path: Path) -> None:
    client = Client(tmp_path, binary=script(says(RESULT)))
    with pytest.raises(ValueError, match="time zone"):
        client.restore(at=datetime(2026, 1, 1))


def test_arguments_are_passed_as_they_are(script: Script, tmp_path: Path) -> None:
    program = script(f"open({str(tmp_path / 'argv')!r}, 'w').write(json.dumps(sys.argv[1:]))\n{says(RESULT)}")
    client = Client(tmp_path, binary=program, config="other.toml", environment="production")
    client.restore("db", at=datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc), to="a folder")
    written = (tmp_path / "argv").read_text()
    for word in [
        '"--config", "other.toml"',
        '"--env", "production"',
        '"--to", "a folder"',
        "2026-01-02T03:04:00+00:00",
    ]:
        assert word in written


def test_the_nearest_project_is_found(script: Script, tmp_path: Path) -> None:
    program = script(says(RESULT))
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    with pytest.raises(UsageError, match=r"recoup\.toml"):
        Client.from_project(deep, binary=program)
    (tmp_path / "pyproject.toml").write_text("[project]\n[tool.recoup]\nversion = 1\n")
    assert Client.from_project(deep, binary=program).project == tmp_path.resolve()
    (tmp_path / "a" / "recoup.toml").write_text("version = 1\n")
    assert Client.from_project(deep, binary=program).project == (tmp_path / "a").resolve()


def test_the_program_is_never_taken_from_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recoup import BinaryNotFoundError, _find

    stranger = tmp_path / "bin" / "recoup"
    stranger.parent.mkdir()
    stranger.write_text("#!/bin/sh\n")
    stranger.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stranger.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(_find, "_folders", lambda: [str(tmp_path / "empty")])
    with pytest.raises(BinaryNotFoundError, match="empty"):
        _find.find_recoup_bin()
    assert subprocess.run(["recoup"], check=False).returncode == 0  # it is there, and was not taken
