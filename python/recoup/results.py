"""The answers of the verbs, typed. Fields that this package does not know stay in `document`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recoup import _read as read
from recoup.events import Finding, finding


@dataclass(frozen=True)
class Result:
    """What every answer has. `outcome` is pass, fail, unknown, partial or refused."""

    document: dict[str, Any]

    @property
    def kind(self) -> str:
        """Which verb answered."""
        return read.text(self.document, "kind")

    @property
    def outcome(self) -> str:
        """How it went; a missing outcome is `unknown`, which is never a pass."""
        return read.text(self.document, "outcome") or "unknown"

    @property
    def ok(self) -> bool:
        """Whether all that was asked was proven."""
        return self.outcome == "pass"

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was noticed."""
        return tuple(finding(item) for item in read.tables(self.document, "findings"))

    @property
    def resume_command(self) -> str | None:
        """The command that goes on from here, if there is something to go on with."""
        return read.maybe_text(self.document, "resume")


@dataclass(frozen=True)
class Stage:
    """One stage of a restore or a drill."""

    name: str
    seconds: float | None
    outcome: str


@dataclass(frozen=True)
class CapturedSource:
    """What a backup did for one source."""

    address: str
    snapshot: str | None
    position: str | None
    bytes: int
    seconds: float | None
    complete: bool


@dataclass(frozen=True)
class LocationState:
    """What a location holds of a point."""

    name: str
    durable: bool


@dataclass(frozen=True)
class BackupResult(Result):
    """The answer of `backup`."""

    @property
    def run(self) -> str:
        """The id of the run, for `recoup show`."""
        return read.text(self.document, "run")

    @property
    def point(self) -> str | None:
        """The id of the point, if one was made."""
        return read.maybe_text(self.document, "point")

    @property
    def sources(self) -> tuple[CapturedSource, ...]:
        """What was captured."""
        return tuple(
            CapturedSource(
                address=read.text(item, "address"),
                snapshot=read.maybe_text(item, "snapshot"),
                position=read.maybe_text(item, "position"),
                bytes=read.integer(item, "bytes"),
                seconds=read.maybe_number(item, "seconds"),
                complete=item.get("complete") is True,
            )
            for item in read.tables(self.document, "sources")
        )

    @property
    def locations(self) -> tuple[LocationState, ...]:
        """Where it is durable."""
        return tuple(
            LocationState(read.text(item, "name"), item.get("durable") is True)
            for item in read.tables(self.document, "locations")
        )


@dataclass(frozen=True)
class PointSource:
    """One source of a point."""

    address: str
    snapshot: str
    position: str | None


@dataclass(frozen=True)
class Point:
    """A moment that can be restored."""

    id: str
    time: datetime | None
    application: str
    sources: tuple[PointSource, ...]
    document: dict[str, Any]


def points(document: read.Document) -> tuple[Point, ...]:
    """Read the points of a `points` document, in the order the program gave them."""
    return tuple(
        Point(
            id=read.text(item, "id"),
            time=read.time(item, "time"),
            application=read.text(item, "application"),
            sources=tuple(
                PointSource(read.text(s, "address"), read.text(s, "snapshot"), read.maybe_text(s, "position"))
                for s in read.tables(item, "sources")
            ),
            document=dict(item),
        )
        for item in read.tables(document, "points")
    )


def _stages(document: read.Document) -> tuple[Stage, ...]:
    return tuple(
        Stage(read.text(item, "name"), read.maybe_number(item, "seconds"), read.text(item, "outcome"))
        for item in read.tables(document, "stages")
    )


@dataclass(frozen=True)
class RestoreResult(Result):
    """The answer of `restore`, `promote`, `rollback` and `resume`."""

    @property
    def restore(self) -> str:
        """The id of the restore, for `promote`, `rollback` and `resume`."""
        return read.text(self.document, "restore")

    @property
    def state(self) -> str:
        """One of planned, running, proved, promoted, rolled-back, stuck, interrupted."""
        return read.text(self.document, "state")

    @property
    def target(self) -> str | None:
        """Where the restored data is."""
        return read.maybe_text(self.document, "target")

    @property
    def plan_hash(self) -> str | None:
        """The hash of the plan; `promote` wants it, or a beginning of it."""
        return read.maybe_text(self.document, "plan")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What was done, with times."""
        return _stages(self.document)


@dataclass(frozen=True)
class DrillResult(Result):
    """The answer of `drill`."""

    @property
    def drill(self) -> str:
        """The id of the drill."""
        return read.text(self.document, "drill")

    @property
    def point(self) -> str:
        """The point that was restored."""
        return read.text(self.document, "point")

    @property
    def level(self) -> str:
        """How far up the ladder the drill went."""
        return read.text(self.document, "level")

    @property
    def rto_seconds(self) -> float | None:
        """How long the restore took, application included."""
        return read.maybe_number(self.document, "rto_seconds")

    @property
    def rpo_seconds(self) -> float | None:
        """How old the restored data was."""
        return read.maybe_number(self.document, "rpo_seconds")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What was done, with times."""
        return _stages(self.document)

    @property
    def evidence(self) -> tuple[str, ...]:
        """The paths of the reports."""
        return read.texts(self.document, "evidence")


@dataclass(frozen=True)
class SourceStatus:
    """Where one source stands."""

    address: str
    class_name: str
    document: dict[str, Any]


@dataclass(frozen=True)
class Status(Result):
    """The answer of `status`."""

    @property
    def contract(self) -> str:
        """One of "met", "not met" and "unknown"; missing is unknown."""
        return read.text(self.document, "contract") or "unknown"

    @property
    def sources(self) -> tuple[SourceStatus, ...]:
        """Where each source stands."""
        return tuple(
            SourceStatus(read.text(item, "address"), read.text(item, "class"), dict(item))
            for item in read.tables(self.document, "sources")
        )

    def source(self, address: str) -> SourceStatus:
        """Return one source, by its full address or by its name.

        Raises:
            KeyError: when there is no such source.

        """
        for source in self.sources:
            if address in (source.address, source.address.rpartition("/")[2]):
                return source
        raise KeyError(address)
