"""Read the settings of a Django project and say what data they name; never say a secret.

Run by `recoup init --allow import` in the project's own interpreter. Importing settings runs the
project's code, so this program first closes the network and sets limits. Values that look secret are
compared with the environment and with `.env` inside this process; only the name that matched leaves it.

Orders come as JSON on standard input: `settings` (the module), `root` (the project's folder), and for
fingerprints `keys` (names of settings) and `fingerprint_key` (hex). The answer is one JSON document on
the first standard output; what the project prints goes to standard error.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import importlib
import json
import os
import re
import resource
import socket
import sys
from typing import Any, NoReturn

CPU_SECONDS = 20
OPEN_FILES = 512
KEY_WORDS = re.compile(
    r"(^|_)(SECRET_KEY|SECRET_KEY_FALLBACKS|ENCRYPTION_KEYS?|FERNET_KEYS?|CRYPTOGRAPHY_KEY|CRYPTO_KEY"
    r"|SALT_KEY|SIGNING_KEY|FIELD_KEY|HASHID_SALT|ENCRYPTION_SALT)$"
)
ADDRESS_KEYS = ("CELERY_BROKER_URL", "BROKER_URL", "CELERY_RESULT_BACKEND", "REDIS_URL", "RQ_QUEUES")


def main() -> int:
    """Answer on the first standard output and give the exit code."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    limit()
    deny_network()
    orders = json.load(sys.stdin)
    root = os.path.realpath(orders["root"])
    module = orders["settings"]
    names = known_values(root)
    sys.path.insert(0, root)
    os.environ["DJANGO_SETTINGS_MODULE"] = module
    try:
        from django import get_version
        from django.conf import settings

        settings.INSTALLED_APPS  # noqa: B018 - this is what imports the module
    except BaseException as error:  # whatever it was, it is the answer
        kind = type(error).__name__
        message = scrub(str(error).splitlines()[0] if str(error) else "", names)
        json.dump({"ok": False, "error": f"{kind}: {message}"[:500]}, answer)
        answer.close()
        return 0
    document: dict[str, Any] = {"ok": True, "django": get_version(), "python": sys.version.split()[0]}
    if orders.get("fingerprint_key"):
        key = bytes.fromhex(orders["fingerprint_key"])
        document["fingerprints"] = fingerprints(settings, orders.get("keys", []), key)
    else:
        document.update(describe(settings, module, root, names))
    json.dump(document, answer, default=str)
    answer.close()
    return 0


def limit() -> None:
    """Keep a runaway settings module from taking the machine."""
    for what, most in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _soft, hard = resource.getrlimit(what)
        new = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (new, new))


def deny_network() -> None:
    """Refuse every socket, for hosts where no private network namespace is to be had."""

    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise OSError("recoup reads settings without the network")

    for name in ("connect", "connect_ex", "bind", "sendto"):
        setattr(_DeniedSocket, name, refuse)
    socket.socket = _DeniedSocket  # type: ignore[misc]
    for name in ("create_connection", "getaddrinfo", "gethostbyname", "socketpair"):
        setattr(socket, name, refuse)


class _DeniedSocket(socket.socket):
    """A socket that goes nowhere."""


def known_values(root: str) -> dict[str, str]:
    """Map long enough values of the environment and of `.env` files to where they stand."""
    names: dict[str, str] = {}
    for name, value in os.environ.items():
        if len(value) >= 8 and not name.startswith(("RECOUP_", "PATH", "HOME", "PWD")):
            names.setdefault(value, f"env:{name}")
    for file in (".env", ".env.local", ".env.production"):
        for name, value in dotenv(os.path.join(root, file)):
            if len(value) >= 8:
                # A name from a file is one that the environment is meant to have.
                names[value] = f"env:{name}"
    return names


def dotenv(path: str) -> list[tuple[str, str]]:
    """Read NAME=value lines."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(256 * 1024)
    except OSError:
        return []
    pairs = []
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and name.strip().isidentifier():
            pairs.append((name.strip(), value.strip().strip("\"'")))
    return pairs


def reference(value: object, names: dict[str, str]) -> str | None:
    """Say where `value` comes from, if it stands somewhere we know."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or not value:
        return None
    return names.get(value)


def scrub(text: str, names: dict[str, str]) -> str:
    """Take every known value out of a text, and addresses with passwords."""
    for value in sorted(names, key=len, reverse=True):
        text = text.replace(value, "***")
    return re.sub(r"(\w+://[^\s:/@]*):[^\s@]*@", r"\1:***@", text)


def describe(settings: Any, module: str, root: str, names: dict[str, str]) -> dict[str, Any]:
    """Collect what matters for backup and restore."""
    lines = Lines(module, root)
    return {
        "settings": module,
        "databases": [
            database(a, d, names) for a, d in sorted(settings.DATABASES.items()) if d.get("ENGINE")
        ],
        "media_root": text_or_none(getattr(settings, "MEDIA_ROOT", None), root),
        "static_root": text_or_none(getattr(settings, "STATIC_ROOT", None), root),
        "storages": [storage(a, s, root) for a, s in sorted(getattr(settings, "STORAGES", {}).items())],
        "caches": [cache(a, c) for a, c in sorted(settings.CACHES.items())],
        "session_engine": str(settings.SESSION_ENGINE),
        "session_cache": str(settings.SESSION_CACHE_ALIAS),
        "session_file_path": text_or_none(getattr(settings, "SESSION_FILE_PATH", None), root),
        "installed_apps": [str(app) for app in settings.INSTALLED_APPS],
        "email_backend": str(settings.EMAIL_BACKEND),
        "root_urlconf": str(getattr(settings, "ROOT_URLCONF", "")),
        "time_zone": str(settings.TIME_ZONE),
        "addresses": addresses(settings, names),
        "keys": keys(settings, names),
        "lines": lines.found,
    }


def database(alias: str, entry: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """One entry of DATABASES without its secrets."""
    engine = str(entry.get("ENGINE", ""))
    sqlite = engine.endswith(("sqlite3", "spatialite"))
    name = str(entry.get("NAME") or "")
    found: dict[str, Any] = {"alias": str(alias), "engine": engine, "sqlite": sqlite, "name": name}
    if sqlite and name and name != ":memory:" and not name.startswith("file:"):
        found["path"] = os.path.abspath(name)
    if entry.get("PASSWORD"):
        found["password"] = reference(entry["PASSWORD"], names)
    return found


def storage(alias: str, entry: dict[str, Any], root: str) -> dict[str, Any]:
    """One entry of STORAGES."""
    options = entry.get("OPTIONS") or {}
    return {
        "alias": str(alias),
        "backend": str(entry.get("BACKEND", "")),
        "location": text_or_none(options.get("location"), root),
    }


def cache(alias: str, entry: dict[str, Any]) -> dict[str, Any]:
    """One entry of CACHES; its address may hold a password and stays here."""
    return {"alias": str(alias), "backend": str(entry.get("BACKEND", ""))}


def addresses(settings: Any, names: dict[str, str]) -> list[dict[str, Any]]:
    """Brokers and the like: their kind and where their address is kept."""
    found = []
    for name in ADDRESS_KEYS:
        value = getattr(settings, name, None)
        if isinstance(value, str) and "://" in value:
            scheme = value.split("://", 1)[0]
            found.append({"setting": name, "scheme": scheme, "reference": reference(value, names)})
    return found


def keys(settings: Any, names: dict[str, str]) -> list[dict[str, Any]]:
    """Settings that the data needs to stay readable, by name."""
    found = []
    for name in sorted(dir(settings)):
        if not name.isupper() or not KEY_WORDS.search(name):
            continue
        value = getattr(settings, name, None)
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        values = [v for v in values if isinstance(v, (str, bytes)) and v]
        if values:
            found.append({"setting": name, "reference": reference(values[0], names), "count": len(values)})
    return found


def fingerprints(settings: Any, wanted: list[str], key: bytes) -> dict[str, str]:
    """Give the fingerprint of each setting that is a text: HMAC-SHA-256 over name, NUL and value."""
    found = {}
    for name in wanted:
        value = getattr(settings, name, None) if name.isupper() else None
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, bytes) and value:
            digest = hmac.new(key, name.encode() + b"\0" + value, hashlib.sha256).hexdigest()
            found[name] = digest[:16]
    return found


def text_or_none(value: object, root: str) -> str | None:
    """Give a path as absolute text."""
    if value is None or str(value) == "":
        return None
    return os.path.abspath(os.path.join(root, str(value)))


class Lines:
    """Where settings are assigned: `DATABASES` to `shop/settings.py:49`."""

    def __init__(self, module: str, root: str) -> None:
        """Look through the settings module and what it imported from the project."""
        self.found: dict[str, str] = {}
        package = module.split(".", 1)[0]
        order = [m for n, m in list(sys.modules.items()) if n.split(".", 1)[0] == package and n != module]
        for loaded in [*order, importlib.import_module(module)]:
            file = getattr(loaded, "__file__", None)
            if file and os.path.realpath(file).startswith(root + os.sep):
                self.read(os.path.realpath(file), root)

    def read(self, file: str, root: str) -> None:
        """Note every assignment to an upper-case name at the top of `file`."""
        try:
            with open(file, encoding="utf-8") as text:
                tree = ast.parse(text.read(1024 * 1024))
        except (OSError, SyntaxError, ValueError):
            return
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                if isinstance(target, ast.Name) and target.id.isupper():
                    self.found[target.id] = f"{os.path.relpath(file, root)}:{node.lineno}"


if __name__ == "__main__":
    sys.exit(main())
