"""The real program, and a scripted one for what a real one does not do on demand."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Script = Callable[[str], Path]


@pytest.fixture(scope="session")
def binary() -> Path:
    """The program under test: RECOUP_TEST_BINARY, or what `cargo build` left."""
    named = os.environ.get("RECOUP_TEST_BINARY")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(named) if named else target / "debug" / "recoup"
    assert path.is_file(), f"{path} is missing: run `cargo build --bin recoup` first"
    return path.resolve()


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the state of every test to itself, and the settings of whoever runs it out."""
    for name in list(os.environ):
        if name.startswith(("RECOUP_", "RESTIC_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RECOUP_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Make a program from Python text."""

    def make(body: str) -> Path:
        path = tmp_path / "scripted-recoup"
        path.write_text(f"#!{sys.executable}\nimport json, os, signal, sys, time\n{body}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make
