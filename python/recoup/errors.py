"""What can go wrong, one class for each exit code of the program."""

from __future__ import annotations

from typing import Any

from recoup import _read as read
from recoup.events import Finding
from recoup.results import Result


class RecoupError(Exception):
    """The program came back with something other than "done and proven".

    Attributes:
        code: the stable code, as in `E0412`, if there is one; `recoup explain CODE` explains it.
        hint: the next step, in one sentence.
        findings: everything that was noticed.
        resume_command: the command that goes on from here, if the run can be resumed.
        exit_code: of the program.
        result: the typed answer, if the verb came to one (a failed drill still has its stages).

    """

    def __init__(self, message: str, *, exit_code: int | None = None, result: Result | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.result = result
        error: Any = result.document.get("error") if result is not None else None
        self._error: dict[str, Any] = error if isinstance(error, dict) else {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that was noticed, the gravest first as the program orders them."""
        return self.result.findings if self.result is not None else ()

    @property
    def code(self) -> str | None:
        """The stable code of the error, or of the first finding that breaks the promise."""
        own = read.maybe_text(self._error, "code")
        if own is not None:
            return own
        grave = [finding.id for finding in self.findings if finding.severity == "high"]
        return grave[0] if grave else None

    @property
    def hint(self) -> str | None:
        """The next step."""
        own = read.maybe_text(self._error, "hint")
        if own is not None:
            return own
        fixes = [finding.fix for finding in self.findings if finding.fix]
        return fixes[0] if fixes else None

    @property
    def effect(self) -> str | None:
        """What it means for the data."""
        return read.maybe_text(self._error, "effect")

    @property
    def resume_command(self) -> str | None:
        """The command that goes on from here."""
        return self.result.resume_command if self.result is not None else None


class FailedError(RecoupError):
    """Exit 1: it ran to the end and the answer is bad."""


class UsageError(RecoupError):
    """Exit 2: usage or configuration; nothing was attempted."""


class UnknownError(RecoupError):
    """Exit 3: it could not be found out. Unknown is never a pass."""


class PartialError(RecoupError):
    """Exit 4: the durable minimum is met, something else is missing."""


class RefusedError(RecoupError):
    """Exit 5: a guard said no, or an approval is missing."""


class InterruptedRunError(RecoupError):
    """Exit 6: interrupted and resumable, see `resume_command`."""


class ProtocolError(RecoupError):
    """The program ended without a result that this package understands."""


_BY_EXIT_CODE: dict[int, type[RecoupError]] = {
    1: FailedError,
    2: UsageError,
    3: UnknownError,
    4: PartialError,
    5: RefusedError,
    6: InterruptedRunError,
}


def error_for(exit_code: int, result: Result, stderr: str) -> RecoupError:
    """Make the error that belongs to an exit code."""
    kind = _BY_EXIT_CODE.get(exit_code, RecoupError)
    document = result.document.get("error")
    message = read.text(document, "message") if isinstance(document, dict) else ""
    if not message and result.findings:
        first = next((f for f in result.findings if f.severity == "high"), result.findings[0])
        message = f"{first.id} {first.address}: {first.message}"
    verb = result.kind or "recoup"
    return kind(
        f"{verb}: {message or stderr.strip() or result.outcome} (exit {exit_code})",
        exit_code=exit_code,
        result=result,
    )
