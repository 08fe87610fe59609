"""Reading JSON documents with care: a field of another type counts as missing, never as an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

Document = Mapping[str, Any]

_TIME = re.compile(r"^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)$")


def text(document: Document, key: str) -> str:
    """Return the text under `key`, or an empty one."""
    value = document.get(key)
    return value if isinstance(value, str) else ""


def maybe_text(document: Document, key: str) -> str | None:
    """Return the text under `key`, if there is one."""
    value = document.get(key)
    return value if isinstance(value, str) else None


def integer(document: Document, key: str) -> int:
    """Return the whole number under `key`, or 0."""
    value = document.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def maybe_integer(document: Document, key: str) -> int | None:
    """Return the whole number under `key`, if there is one."""
    value = document.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def maybe_number(document: Document, key: str) -> float | None:
    """Return the number under `key`, if there is one."""
    value = document.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def tables(document: Document, key: str) -> list[Document]:
    """Return the objects in the list under `key`."""
    value = document.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(document: Document, key: str) -> tuple[str, ...]:
    """Return the texts in the list under `key`."""
    value = document.get(key)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def time(document: Document, key: str) -> datetime | None:
    """Return the RFC 3339 moment under `key`; digits finer than a microsecond are dropped."""
    match = _TIME.match(text(document, key))
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    fraction = (fraction or ".0")[:7].ljust(7, "0")
    offset = "+00:00" if offset in "Zz" else offset
    try:
        return datetime.fromisoformat(f"{day}T{clock}{fraction}{offset}")
    except ValueError:
        return None
