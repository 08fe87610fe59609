"""The client against the real program: a project without a framework, a database and a folder of files."""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from recoup import Client, Event, RecoupError, RefusedError, StageEnd, StageStart, UsageError

CONFIG = """
version = 1
app = "notes"

[class.standard]
rpo = "1h"
rto = "1h"

[source.db]
kind = "sqlite"
class = "standard"
path = "notes.sqlite3"

[source.papers]
kind = "files"
class = "standard"
path = "papers"

[location.here]
kind = "local"
path = "{repository}"

[keys]
password = {{ file = "{password}" }}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "papers").mkdir(parents=True)
    (folder / "papers" / "one.txt").write_text("first")
    with closing(sqlite3.connect(folder / "notes.sqlite3")) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)")
        db.executemany("INSERT INTO note (text) VALUES (?)", [(f"note {n}",) for n in range(100)])
    password = tmp_path / "password"
    password.write_text(secrets.token_hex(32))
    password.chmod(0o600)
    config = CONFIG.format(repository=tmp_path / "repository", password=password)
    (folder / "recoup.toml").write_text(config)
    return folder


@pytest.fixture
def client(project: Path, binary: Path) -> Client:
    return Client.from_project(project / "papers", binary=binary)


def notes(project: Path) -> int:
    with closing(sqlite3.connect(project / "notes.sqlite3")) as db:
        count: int = db.execute("SELECT count(*) FROM note").fetchone()[0]
        return count


def test_a_point_is_made_listed_restored_and_promoted(client: Client, project: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    made = client.backup(on_event=heard.append)
    assert made.ok
    assert made.point
    assert {source.address.rpartition("/")[2] for source in made.sources} == {"db", "papers"}
    assert all(source.complete for source in made.sources)
    assert [location.durable for location in made.locations] == [True]
    starts = [event for event in heard if isinstance(event, StageStart)]
    ends = [event for event in heard if isinstance(event, StageEnd)]
    assert starts
    assert {event.outcome for event in ends} == {"pass"}

    (point,) = client.points()
    assert point.id == made.point
    assert point.application == "notes"
    assert point.time is not None
    assert abs(point.time - datetime.now(timezone.utc)) < timedelta(minutes=5)
    assert len(point.sources) == 2

    status = client.status()
    assert status.contract in ("met", "not met", "unknown")
    assert status.source("db").class_name == "standard"
    assert client.verify(read_data=True).ok

    with closing(sqlite3.connect(project / "notes.sqlite3")) as db, db:
        db.execute("DELETE FROM note WHERE id > 10")
    (project / "papers" / "one.txt").unlink()

    aside = client.restore()
    assert aside.state == "proved"
    assert aside.plan_hash
    assert notes(project) == 10
    with pytest.raises(RefusedError):
        client.promote(aside.restore, confirm="0000")
    promoted = client.promote(aside.restore, confirm=aside.plan_hash)
    assert promoted.state == "promoted"
    assert notes(project) == 100
    assert (project / "papers" / "one.txt").read_text() == "first"

    back = client.rollback(aside.restore)
    assert back.state == "rolled-back"
    assert notes(project) == 10


def test_a_restore_goes_into_a_folder(client: Client, tmp_path: Path) -> None:
    client.backup()
    there = tmp_path / "there"
    result = client.restore(to=there)
    assert result.ok
    assert [path.read_text() for path in there.rglob("one.txt")] == ["first"]


def test_a_wrong_configuration_is_a_usage_error(client: Client, project: Path) -> None:
    (project / "recoup.toml").write_text('version = 1\napp = "notes"\nclas = 3\n')
    with pytest.raises(UsageError) as caught:
        client.status()
    assert caught.value.exit_code == 2
    assert (caught.value.code or "").startswith("E01")


def test_a_lost_password_is_never_an_empty_answer(client: Client, tmp_path: Path) -> None:
    client.backup()
    (tmp_path / "password").unlink()
    with pytest.raises(RecoupError) as caught:
        client.points()
    assert caught.value.hint


def test_the_program_says_its_version(client: Client) -> None:
    assert client.version().count(".") == 2
