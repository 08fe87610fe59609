"""Backup and proven recovery for Python applications.

The work is done by the `recoup` program, which comes with this package. Python talks to it in JSON
lines over a pipe, so a crash of one never takes the other with it::

    from recoup import Client

    client = Client.from_project()
    point = client.backup().point
    client.drill()
"""

from __future__ import annotations

from recoup._find import BinaryNotFoundError, find_recoup_bin
from recoup.client import Client, Run
from recoup.errors import (
    FailedError,
    InterruptedRunError,
    PartialError,
    ProtocolError,
    RecoupError,
    RefusedError,
    UnknownError,
    UsageError,
)
from recoup.events import Checkpoint, Event, Finding, OtherEvent, Progress, StageEnd, StageStart
from recoup.results import (
    BackupResult,
    CapturedSource,
    DrillResult,
    LocationState,
    Point,
    PointSource,
    RestoreResult,
    Result,
    SourceStatus,
    Stage,
    Status,
)

__all__ = [
    "BackupResult",
    "BinaryNotFoundError",
    "CapturedSource",
    "Checkpoint",
    "Client",
    "DrillResult",
    "Event",
    "FailedError",
    "Finding",
    "InterruptedRunError",
    "LocationState",
    "OtherEvent",
    "PartialError",
    "Point",
    "PointSource",
    "Progress",
    "ProtocolError",
    "RecoupError",
    "RefusedError",
    "RestoreResult",
    "Result",
    "Run",
    "SourceStatus",
    "Stage",
    "StageEnd",
    "StageStart",
    "Status",
    "UnknownError",
    "UsageError",
    "find_recoup_bin",
]
