"""Tables of what was measured. It decides nothing: a ratio stands beside its goal, whatever it is."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path

# The best peer's time divided by recoup's, at full scale. For prune: against restic and rustic, against borg.
GOALS: dict[str, dict[str, str]] = {
    "media": {
        "first": "1.8",
        "same": "5",
        "changed": "3",
        "restore": "1.3",
        "check": "1.4",
        "prune": "2 / 2",
    },
    "source": {"first": "3", "same": "6", "changed": "6", "restore": "2.5", "check": "1.8", "prune": "2 / 1"},
    "pg": {
        "first": "1.5",
        "same": "5",
        "changed": "1.8",
        "restore": "1.2",
        "check": "1.5",
        "prune": "3 / 1.5",
    },
    "sqlite": {
        "first": "1.2",
        "same": "5",
        "changed": "1.5",
        "restore": "1.4",
        "check": "1.4",
        "prune": "4 / 2",
    },
    "dump": {
        "first": "1.7",
        "same": "5",
        "changed": "1.5",
        "restore": "1.4",
        "check": "1.8",
        "prune": "3 / 1.5",
    },
    "many": {"first": "8", "same": "7", "changed": "6", "restore": "3.5", "check": "2.5", "prune": "2 / 1.3"},
}
# What may be stored at most: nowhere more than the best peer and 2 %, and far less for changed databases.
STORED_GOALS = {
    ("pg", "stored changed"): "3.3",
    ("sqlite", "stored changed"): "1.7",
    ("dump", "stored changed"): "2.9",
}

WORDS = {
    "first": "first backup",
    "stored first": "bytes stored",
    "same": "backup, nothing changed",
    "changed": "backup, some changed",
    "stored changed": "bytes added",
    "restore": "restore",
    "check": "check, all data",
    "prune": "prune after a change",
    "stored pruned": "bytes left",
}
OWN = "recoup"


@dataclass(frozen=True)
class Row:
    """One measurement: seconds and MiB of a process, or the bytes of a repository."""

    set: str
    operation: str
    tool: str
    figures: dict[str, float]


def value(rows: list[Row]) -> float | None:
    """What counts of one cell: the median of the seconds, or the bytes."""
    if not rows:
        return None
    return statistics.median(row.figures.get("wall", row.figures.get("bytes", 0.0)) for row in rows)


def cell(rows: list[Row]) -> str:
    """One cell in words."""
    if not rows:
        return "-"
    if "bytes" in rows[0].figures:
        return f"{rows[0].figures['bytes'] / 1e6:.1f} MB"
    wall = statistics.median(row.figures["wall"] for row in rows)
    cpu = statistics.median(row.figures["cpu"] for row in rows)
    peak = max(row.figures["rss_mib"] for row in rows)
    failed = " FAILED" if any(row.figures["code"] for row in rows) else ""
    return f"{wall:.2f} s ({cpu:.2f}), {peak:.0f} MiB{failed}"


def ratio(cells: dict[str, list[Row]], peers: list[str]) -> str:
    """The best peer's value divided by ours."""
    own = value(cells.get(OWN, []))
    others = [other for peer in peers if (other := value(cells.get(peer, []))) is not None]
    return f"{min(others) / own:.2f}" if own and others else "-"


def table(rows: list[Row], data_set: str, scale: str) -> str:
    """The table of one set."""
    mine = [row for row in rows if row.set == data_set]
    names = list(dict.fromkeys(row.tool for row in mine))
    head = [data_set, *names, "ratio", *(["goal"] if scale == "full" else [])]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for operation, words in WORDS.items():
        cells = {name: [r for r in mine if (r.operation, r.tool) == (operation, name)] for name in names}
        if not any(cells.values()):
            continue
        peers = [name for name in names if name != OWN]
        said = ratio(cells, peers)
        if operation == "prune":
            said = f"{ratio(cells, ['restic', 'rustic'])} / {ratio(cells, ['borg'])}"
        goal = GOALS.get(data_set, {}).get(operation) or STORED_GOALS.get((data_set, operation))
        goal = goal or ("0.98" if operation.startswith("stored") else "")
        columns = [words, *(cell(cells[name]) for name in names), said, *([goal] if scale == "full" else [])]
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """The machine in a line."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = f"{platform.system()} {platform.release()}"
    return f"{os.cpu_count()} processors ({model}), {gib:.0f} GiB of memory, {kernel}"


def page(rows: list[Row], sets: list[str], versions: list[str], scale: str, runs: int, command: str) -> str:
    """The whole page."""
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    parts = [
        "# Benchmarks\n",
        f"Made by `{command}`; how and why in [Benchmarks](../guides/benchmarks.md).\n",
        f"- Date: {today}",
        f"- Machine: {machine()}",
        f"- Tools: {', '.join(versions)}",
        f"- Scale: {scale}; {runs} runs of each, in turn; the median counts\n",
        "A cell is wall seconds, in brackets CPU seconds, and the most memory of any run. The ratio is the "
        "best peer's value divided by recoup's: above 1 recoup is faster or smaller. For prune the first "
        "ratio is against restic and rustic, the second against borg. "
        "Seconds of two pages must not be compared.\n",
    ]
    parts += [f"## {name}\n\n{table(rows, name, scale)}" for name in sets]
    return "\n".join(parts)
