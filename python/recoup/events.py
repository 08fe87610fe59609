"""What happened, one line at a time: the vocabulary of `recoup --output jsonl`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recoup import _read as read


@dataclass(frozen=True)
class StageStart:
    """A stage begins."""

    stage: str
    address: str


@dataclass(frozen=True)
class Progress:
    """A stage is under way. Counters only grow; totals are None while unknown."""

    stage: str
    address: str
    bytes: int
    bytes_total: int | None
    items: int
    items_total: int | None


@dataclass(frozen=True)
class Finding:
    """Something was noticed; `id` is a stable code that `recoup explain` explains."""

    id: str
    severity: str
    address: str
    message: str
    fix: str


@dataclass(frozen=True)
class Checkpoint:
    """Something durable was reached: a run that stops after it goes on from here."""

    stage: str
    message: str


@dataclass(frozen=True)
class StageEnd:
    """A stage is over."""

    stage: str
    address: str
    seconds: float
    outcome: str
    message: str


@dataclass(frozen=True)
class OtherEvent:
    """An event of a newer program that this package does not know yet."""

    name: str
    document: dict[str, Any]


Event = StageStart | Progress | Finding | Checkpoint | StageEnd | OtherEvent


def finding(document: read.Document) -> Finding:
    """Read one finding."""
    return Finding(
        id=read.text(document, "id"),
        severity=read.text(document, "severity"),
        address=read.text(document, "address"),
        message=read.text(document, "message"),
        fix=read.text(document, "fix"),
    )


def event(document: dict[str, Any]) -> Event:
    """Read one event; one that is not known is kept as it is."""
    name = read.text(document, "event")
    stage, address = read.text(document, "stage"), read.text(document, "address")
    if name == "stage.start":
        return StageStart(stage, address)
    if name == "progress":
        return Progress(
            stage,
            address,
            bytes=read.integer(document, "bytes"),
            bytes_total=read.maybe_integer(document, "bytes_total"),
            items=read.integer(document, "items"),
            items_total=read.maybe_integer(document, "items_total"),
        )
    if name == "finding":
        return finding(document)
    if name == "checkpoint":
        return Checkpoint(stage, read.text(document, "message"))
    if name == "stage.end":
        seconds = read.maybe_number(document, "seconds") or 0.0
        return StageEnd(
            stage, address, seconds, read.text(document, "outcome"), read.text(document, "message")
        )
    return OtherEvent(name, document)
