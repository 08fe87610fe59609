"""A typed client: one method for each verb, one process for each call."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

from recoup._find import find_recoup_bin
from recoup.errors import ProtocolError, RecoupError, UsageError, error_for
from recoup.events import Event, event
from recoup.results import BackupResult, DrillResult, Point, RestoreResult, Result, Status, points

_R = TypeVar("_R", bound=Result)
_Listener = Callable[[Event], None]

#: The tool section of pyproject.toml; Python 3.10 has no TOML reader of its own.
_TOOL = re.compile(r"^\s*\[tool\.recoup[\].]", re.MULTILINE)

_STDERR_BYTES_MAX = 64 * 1024
_SCHEMA = "recoup/1"
_USAGE = 2


class Client:
    """Speaks with the `recoup` program about one project.

    A method returns when the program has ended, and raises a `RecoupError` unless all that was asked
    was proven. `status` and `check` return whatever the answer is, as long as there is one.
    """

    def __init__(
        self,
        project: str | os.PathLike[str] = ".",
        *,
        binary: str | os.PathLike[str] | None = None,
        config: str | os.PathLike[str] | None = None,
        environment: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Make a client for the project in a folder.

        `binary` replaces the program that came with this package. `config` and `environment` are the
        options `--config` and `--env`. `variables` are added to the environment of the program.
        """
        self.project = Path(project)
        self._binary = os.fspath(binary) if binary is not None else find_recoup_bin()
        self._globals = ["-C", os.fspath(self.project), "--output", "jsonl", "--no-input"]
        if config is not None:
            self._globals += ["--config", os.fspath(config)]
        if environment is not None:
            self._globals += ["--env", environment]
        self._variables = dict(variables or {})

    @classmethod
    def from_project(
        cls,
        start: str | os.PathLike[str] = ".",
        *,
        binary: str | os.PathLike[str] | None = None,
        environment: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Client:
        """Make a client for the nearest project above `start`: a `recoup.toml`, or `[tool.recoup]`.

        Raises:
            UsageError: when no folder above `start` has either.

        """
        here = Path(start).resolve()
        for folder in (here, *here.parents):
            if _has_configuration(folder):
                return cls(folder, binary=binary, environment=environment, variables=variables)
        raise UsageError(f"no recoup.toml and no [tool.recoup] in {here} or above; `recoup init` writes one")

    def version(self) -> str:
        """Return the version of the program."""
        said = subprocess.run([self._binary, "--version"], capture_output=True, text=True, check=True)
        return said.stdout.strip().rpartition(" ")[2]

    def stream(self, *arguments: str) -> Run:
        """Start a verb and iterate over its events. The result is there afterwards.

        with client.stream("backup") as run:
            for event in run:
                print(event)
        print(run.result.outcome)
        """
        return Run([self._binary, *self._globals, *arguments], {**os.environ, **self._variables})

    def backup(self, *addresses: str, on_event: _Listener | None = None) -> BackupResult:
        """Capture all sources, or the named ones, into a point."""
        return self._proven(BackupResult, ["backup", *addresses], on_event)

    def points(self) -> tuple[Point, ...]:
        """List the moments that can be restored.

        A location that cannot be read is an error and not an empty list. If another one could be read,
        it is a `PartialError`, and its `result.document` has what was found.
        """
        return points(self._proven(Result, ["points"], None).document)

    def status(self) -> Status:
        """Say whether the contract is met, and how we know."""
        return self._answer(Status, ["status"], None)

    def check(self) -> Result:
        """Compare the contract with the means."""
        return self._answer(Result, ["check"], None)

    def verify(self, *, read_data: bool = False, on_event: _Listener | None = None) -> Result:
        """Check the repositories; with `read_data` every byte of them."""
        return self._proven(Result, ["verify", *(["--read-data"] if read_data else [])], on_event)

    def restore(
        self,
        *addresses: str,
        at: str | datetime | None = None,
        to: str | os.PathLike[str] | None = None,
        on_event: _Listener | None = None,
    ) -> RestoreResult:
        """Restore aside, or into the folder `to`, the state of the moment `at` (the latest if None)."""
        arguments = ["restore", *addresses]
        if at is not None:
            arguments += ["--at", _moment(at)]
        if to is not None:
            arguments += ["--to", os.fspath(to)]
        return self._proven(RestoreResult, arguments, on_event)

    def promote(self, restore: str, *, confirm: str, on_event: _Listener | None = None) -> RestoreResult:
        """Switch to restored data; `confirm` is the hash of the plan, or a beginning of it."""
        return self._proven(RestoreResult, ["promote", restore, "--confirm", confirm], on_event)

    def rollback(self, restore: str, *, on_event: _Listener | None = None) -> RestoreResult:
        """Switch back to the data that was live before `promote`."""
        return self._proven(RestoreResult, ["rollback", restore], on_event)

    def resume(self, restore: str, *, on_event: _Listener | None = None) -> RestoreResult:
        """Go on with an interrupted restore."""
        return self._proven(RestoreResult, ["resume", restore], on_event)

    def drill(self, name: str | None = None, *, on_event: _Listener | None = None) -> DrillResult:
        """Restore somewhere else, start the application on it, measure."""
        return self._proven(DrillResult, ["drill", *([name] if name else [])], on_event)

    def _proven(self, kind: type[_R], arguments: list[str], on_event: _Listener | None) -> _R:
        run = self._finish(arguments, on_event)
        if run.exit_code != 0:
            raise run.error(kind)
        return kind(run.document)

    def _answer(self, kind: type[_R], arguments: list[str], on_event: _Listener | None) -> _R:
        run = self._finish(arguments, on_event)
        if "error" in run.document or run.exit_code not in (0, 1, 3, 4):
            raise run.error(kind)
        return kind(run.document)

    def _finish(self, arguments: list[str], on_event: _Listener | None) -> Run:
        with self.stream(*arguments) as run:
            for happened in run:
                if on_event is not None:
                    on_event(happened)
        return run


class Run:
    """One call of the program. Iterate over it for its events; leaving the `with` early stops it."""

    def __init__(self, command: list[str], variables: dict[str, str]) -> None:
        """Start the program; it gets no terminal and cannot ask."""
        self.command = command
        self.document: dict[str, Any] = {}
        self.exit_code: int | None = None
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            encoding="utf-8",
            errors="replace",
        )
        self._said: list[str] = []
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True)
        self._listener.start()

    @property
    def result(self) -> Result:
        """The answer, once the program has ended."""
        return Result(self.document)

    @property
    def stderr(self) -> str:
        """The last of what the program said to people."""
        return "".join(self._said)

    def error(self, kind: type[Result]) -> RecoupError:
        """Make the error for an exit code that is not 0, with the typed answer inside."""
        return error_for(self.exit_code or 0, kind(self.document), self.stderr)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __iter__(self) -> Iterator[Event]:
        output = self._process.stdout
        if output is None or output.closed:
            return
        for line in output:
            document = self._parse(line)
            if document.get("event") == "result":
                self.document = document
            else:
                yield event(document)
        self._end()
        # A command line that is not understood is answered to people only.
        if self.document.get("schema") != _SCHEMA and self.exit_code != _USAGE:
            said = self.stderr.strip() or f"no result with schema {_SCHEMA}"
            raise ProtocolError(f"recoup ended with exit {self.exit_code}: {said}", exit_code=self.exit_code)

    def stop(self) -> None:
        """Ask the program to stop, if it still runs, and wait until it has.

        It gets the time it needs: a restore that is stopped writes down how to go on.
        """
        if self.exit_code is None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            # It may be about to write into a pipe that nobody reads any more.
            if self._process.stdout is not None:
                self._process.stdout.close()
        self._end()

    def _end(self) -> None:
        if self.exit_code is None:
            self.exit_code = self._process.wait()
            self._listener.join()
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()

    def _parse(self, line: str) -> dict[str, Any]:
        try:
            document = json.loads(line)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            self.stop()
            raise ProtocolError(f"recoup wrote a line that is no JSON object: {line[:200]!r}")
        return document

    def _listen(self, pipe: IO[str] | None) -> None:
        if pipe is None:
            return
        kept = 0
        for line in pipe:
            self._said.append(line)
            kept += len(line)
            while kept > _STDERR_BYTES_MAX and len(self._said) > 1:
                kept -= len(self._said.pop(0))


def _has_configuration(folder: Path) -> bool:
    if (folder / "recoup.toml").is_file():
        return True
    try:
        return _TOOL.search((folder / "pyproject.toml").read_text("utf-8", "replace")) is not None
    except OSError:
        return False


def _moment(at: str | datetime) -> str:
    """Write a moment for `--at`; a naive time would be a guess, so it is refused."""
    if isinstance(at, str):
        return at
    if at.tzinfo is None:
        raise ValueError("a moment needs a time zone: pass an aware datetime")
    return at.isoformat()
