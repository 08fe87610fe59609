"""Runs every tool on the same data in one go and says how much faster and smaller recoup is than the best
of the others. It never runs in CI: seconds are worth something only beside each other.

    python3 bench/compare.py [--scale small|full] [--sets media,many] [--tools recoup,restic] [--runs 3]
                             [--work DIR] [--data DIR] [--rows FILE] [--page FILE]

Tools take turns inside each round, so that a slow moment of the machine hits all of them; the tables give
medians. Above 1.0, recoup is faster or smaller. Every restore is compared with what was backed up, byte by
byte. Ends with 1 if a tool failed or a restore differed.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import json
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import datasets
import report
from tools import PASSWORD, TOOLS, Tool

OPERATIONS = ("first", "same", "changed", "restore", "check", "prune")
# What a tool may take beside the data it writes.
TOOL_BYTES = 1 << 30


class Comparison:
    """One comparison under way: the tools, where they work, and what was measured."""

    def __init__(self, tools: list[Tool], work: Path, runs: int, rows: Path | None) -> None:
        self.tools = tools
        self.work = work
        self.runs = runs
        self.rows_file = rows
        self.rows: list[report.Row] = []
        self.failures: list[str] = []
        self.target = work / "restored"

    def measure(self, data_set: str, data: Path, operations: list[str]) -> None:
        """All operations on one set, which has one path for both generations, as in real life."""
        live = self.work / "data" / data_set
        switch(data / "gen1" / data_set, live)
        self._first(data_set, live)
        if "same" in operations:
            self._rounds(data_set, "same", "backup", live)
        if "changed" in operations:
            switch(data / "gen2" / data_set, live)
            self._changed(data_set, live)
        if "restore" in operations:
            self._rounds(data_set, "restore", "restore", live)
        if "check" in operations:
            self._rounds(data_set, "check", "check", live)
        if "prune" in operations:
            self._prune(data_set, live)
        for tool in self.tools:
            shutil.rmtree(tool.folder)
        shutil.rmtree(live)

    def _first(self, data_set: str, live: Path) -> None:
        for _ in range(self.runs):
            for tool in self.tools:
                tool.fresh()
                self._run(tool, "init", live)
                self._time(data_set, "first", tool, "backup", live)
        for tool in self.tools:
            self._record(data_set, "stored first", tool, {"bytes": tool.stored_bytes()})

    def _changed(self, data_set: str, live: Path) -> None:
        before = {tool.name: tool.stored_bytes() for tool in self.tools}
        for tool in self.tools:
            tool.keep()
        for run in range(self.runs):
            for tool in self.tools:
                if run:
                    tool.back()
                self._time(data_set, "changed", tool, "backup", live)
        for tool in self.tools:
            added = tool.stored_bytes() - before[tool.name]
            self._record(data_set, "stored changed", tool, {"bytes": added})
            tool.drop()

    def _prune(self, data_set: str, live: Path) -> None:
        able = [tool for tool in self.tools if tool.can("prune")]
        for tool in able:
            self._run(tool, "forget", live)
            tool.keep()
        for run in range(self.runs):
            for tool in able:
                if run:
                    tool.back()
                self._time(data_set, "prune", tool, "prune", live)
        for tool in able:
            self._record(data_set, "stored pruned", tool, {"bytes": tool.stored_bytes()})
            tool.drop()

    def _rounds(self, data_set: str, operation: str, verb: str, live: Path) -> None:
        for _ in range(self.runs):
            for tool in self.tools:
                self._time(data_set, operation, tool, verb, live)
                if verb == "restore" and (differing := difference(live, found(self.target, live))):
                    self._fail(f"{data_set}: {tool.name} restored {differing} differently")

    def _time(self, data_set: str, operation: str, tool: Tool, verb: str, live: Path) -> None:
        self._record(data_set, operation, tool, self._run(tool, verb, live))

    def _run(self, tool: Tool, verb: str, live: Path) -> dict[str, float]:
        shutil.rmtree(self.target, ignore_errors=True)
        self.target.mkdir()
        if verb != "init":
            warm(sum(path.lstat().st_size for path in live.rglob("*")) + TOOL_BYTES)
        figures = tool.run(verb, live, self.target)
        if figures.code:
            self._fail(f"{live.name}: {tool.name} {verb} ended with {figures.code}, see {tool.log}")
        return asdict(figures)

    def _record(self, data_set: str, operation: str, tool: Tool, figures: dict[str, float]) -> None:
        row = report.Row(data_set, operation, tool.name, figures)
        self.rows.append(row)
        if self.rows_file:
            with self.rows_file.open("a") as out:
                out.write(json.dumps(asdict(row)) + "\n")

    def _fail(self, what: str) -> None:
        self.failures.append(what)
        print(f"FAILED {what}", file=sys.stderr, flush=True)


def switch(generation: Path, live: Path) -> None:
    """Makes `live` equal to `generation`. Files that stay the same are not touched."""
    live.mkdir(parents=True, exist_ok=True)
    wanted = {path.relative_to(generation) for path in generation.rglob("*")}
    for path in sorted(live.rglob("*"), reverse=True):
        if path.relative_to(live) not in wanted:
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
    for name in sorted(wanted):
        old, new = live / name, generation / name
        if new.is_dir():
            old.mkdir(exist_ok=True)
        elif not (old.exists() and same(old, new)):
            # Written over, as a database writes over its file.
            with new.open("rb") as source, old.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            shutil.copystat(new, old)


def warm(size: int) -> None:
    """Touches as much memory as a run may take and gives it back. A virtual machine gets memory that it
    has not used for some seconds from its host, at less than a gigabyte a second, and whoever comes first
    pays for it.
    """
    page = bytes(1 << 20)
    with mmap.mmap(-1, size) as memory:
        for _ in range(size // len(page)):
            memory.write(page)


def same(one: Path, other: Path) -> bool:
    """Whether two files have the same size and time, or else the same content."""
    a, b = one.stat(), other.stat()
    if a.st_size != b.st_size:
        return False
    return a.st_mtime_ns == b.st_mtime_ns or filecmp.cmp(one, other, shallow=False)


def found(target: Path, live: Path) -> Path:
    """Where a restore put the set: under its whole path, or at the top."""
    nested = target / live.relative_to("/")
    return nested if nested.is_dir() else target


def difference(expected: Path, restored: Path) -> str:
    """The first file that is not the same in both, or nothing."""
    for one, other in ((expected, restored), (restored, expected)):
        for path in one.rglob("*"):
            name = path.relative_to(one)
            if path.is_dir() != (other / name).is_dir() or not (other / name).exists():
                return str(name)
            if one is expected and path.is_file() and not filecmp.cmp(path, other / name, shallow=False):
                return str(name)
    return ""


@contextlib.contextmanager
def workplace(wanted: Path | None) -> Iterator[Path]:
    """A folder for repositories and live data: in memory if there is one, so that the disk of the day does
    not decide. It is gone afterwards, but for a folder that was asked for.
    """
    if wanted:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted
        return
    memory = Path("/dev/shm")  # noqa: S108, a folder of our own is made in it
    with tempfile.TemporaryDirectory(
        prefix="recoup-bench-", dir=memory if memory.is_dir() else None
    ) as folder:
        yield Path(folder)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=datasets.SCALES, default="full")
    parser.add_argument("--sets", default=",".join(datasets.SETS))
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--operations", default=",".join(OPERATIONS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, help="for repositories and live data; in memory by default")
    parser.add_argument(
        "--data", type=Path, default=Path("target/bench/data"), help="where the sets are kept"
    )
    parser.add_argument("--rows", type=Path, help="append every measurement to this file, as JSON lines")
    parser.add_argument("--page", type=Path, help="write the tables to this file")
    return parser.parse_args()


def main() -> int:
    """Makes the sets that are missing, measures, reports."""
    args = options()
    sets, operations = args.sets.split(","), args.operations.split(",")
    data = args.data / args.scale
    datasets.make(data, args.scale, sets)
    with workplace(args.work) as work:
        password = work / "password"
        password.touch(mode=0o600)
        password.write_text(PASSWORD + "\n")
        wanted = [TOOLS[name](work) for name in args.tools.split(",")]
        tools = [tool for tool in wanted if tool.is_there()]
        for tool in wanted:
            print(f"{tool.name}: {tool.version() if tool in tools else 'not installed'}", flush=True)
        comparison = Comparison(tools, work, args.runs, args.rows)
        for data_set in sets:
            comparison.measure(data_set, data, operations)
            print(report.table(comparison.rows, data_set, args.scale), flush=True)
        versions = [tool.version() for tool in tools]
    if args.page:
        said = " ".join(["make bench", f"SCALE={args.scale}"])
        args.page.write_text(report.page(comparison.rows, sets, versions, args.scale, args.runs, said))
        print(f"wrote {args.page}")
    for failure in comparison.failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
