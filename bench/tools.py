"""The tools that are compared, and how each is called. Every call is a whole process, timed from outside
with the kernel's own accounting. It never judges a result.

A tool is taken from the variable of its name in capitals (RESTIC=...), or from the path. Settings are each
tool's defaults; borg runs with zstd level 3, so that what is stored can be compared.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LAUNCH = Path(__file__).with_name("launch.py")

# A generated 256-bit password, the same for every tool: what each spends on deriving a key is its own choice.
PASSWORD = "6f0d2c9be1a84775c3f2e5d08b1947aa5c3e9d72f40b8861d7a2c4e95f3b1068"

# What a source of that kind asks the engine for; folders keep the default.
CHUNKERS = {"sqlite": "pages", "pg": "pages", "dump": "lines"}


@dataclass(frozen=True)
class Figures:
    """What one process cost: seconds, and MiB at its peak."""

    wall: float
    cpu: float
    rss_mib: float
    code: int


class Tool:
    """One tool with its repository and its cache in `work`."""

    name = ""
    version_words: tuple[str, ...] = ("--version",)

    def __init__(self, work: Path) -> None:
        self.binary = os.environ.get(self.name.upper()) or shutil.which(self.name) or ""
        self.folder = work / self.name
        self.repo = self.folder / "repo"
        self.cache = self.folder / "cache"
        self.password_file = work / "password"
        self.log = work / f"{self.name}.log"

    def argv(self, operation: str, source: Path, target: Path) -> list[str] | None:
        """The words of a call, or None if the tool cannot do it."""
        raise NotImplementedError

    def is_there(self) -> bool:
        """Whether it can be run at all."""
        return bool(self.binary) and Path(self.binary).is_file()

    def version(self) -> str:
        """What it calls itself."""
        words = [self.binary, *self.version_words]
        said = subprocess.run(words, capture_output=True, text=True, check=False, env=self._env())
        return " ".join(said.stdout.split()[:2])

    def can(self, operation: str) -> bool:
        """Whether it has this operation."""
        return self.argv(operation, Path("/"), Path("/")) is not None

    def run(self, operation: str, source: Path, target: Path) -> Figures:
        """Runs one operation to the end."""
        argv = self.argv(operation, source, target)
        if argv is None:
            raise ValueError(f"{self.name} has no {operation}")
        with self.log.open("ab") as log:
            log.write((" ".join(argv) + "\n").encode())
            log.flush()
            figures = target.with_name("figures")
            figures.unlink(missing_ok=True)
            # A launcher of its own: a process inherits the peak memory of the one that starts it.
            launcher = [str(Path(sys.executable).absolute()), "-I", "-S", str(LAUNCH), str(figures)]
            subprocess.run(
                [*launcher, *argv],
                env=self._env(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=target,
                check=True,
            )
        wall, cpu, rss_mib, code = figures.read_text().split()
        return Figures(float(wall), float(cpu), float(rss_mib), int(code))

    def fresh(self) -> None:
        """Forgets repository and cache."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.cache.mkdir(parents=True)

    def stored_bytes(self) -> int:
        """The size of the repository."""
        return sum(path.stat().st_size for path in self.repo.rglob("*") if path.is_file())

    def keep(self) -> None:
        """Sets repository and cache aside, so that what changes them can be run again."""
        self.drop()
        shutil.copytree(self.folder, self._kept(), symlinks=True)

    def back(self) -> None:
        """Takes back what was set aside."""
        shutil.rmtree(self.folder)
        shutil.copytree(self._kept(), self.folder, symlinks=True)

    def drop(self) -> None:
        """Forgets what was set aside."""
        shutil.rmtree(self._kept(), ignore_errors=True)

    def _kept(self) -> Path:
        return self.folder.with_name(f"{self.name}.kept")

    def _env(self) -> dict[str, str]:
        cache = str(self.cache)
        own = {
            "RESTIC_PASSWORD": PASSWORD,
            "RUSTIC_PASSWORD": PASSWORD,
            "RUSTIC_NO_PROGRESS": "true",
            "RUSTIC_LOG_LEVEL": "warn",
            "BORG_PASSPHRASE": PASSWORD,
            "BORG_BASE_DIR": cache,
            "BORG_CACHE_DIR": cache,
            "BORG_CONFIG_DIR": cache,
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
            "BORG_CHECK_I_KNOW_WHAT_I_AM_DOING": "YES",
            "HOME": cache,
            "XDG_CACHE_HOME": cache,
            "XDG_CONFIG_HOME": cache,
            "XDG_STATE_HOME": cache,
        }
        foreign = ("RESTIC_", "RUSTIC_", "BORG_", "RECOUP_")
        return {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | own


class Recoup(Tool):
    """This project."""

    name = "recoup"

    def argv(self, operation: str, source: Path, target: Path) -> list[str] | None:
        """As `recoup repo` has it today; a verb it does not have yet is left out."""
        base = [self.binary, "-q", "repo", "-r", str(self.repo), "-p", str(self.password_file)]
        if operation == "backup":
            kind = CHUNKERS.get(source.name)
            chunker = ["--chunker", kind] if kind and "--chunker" in self._help("backup") else []
            return [*base, "backup", *chunker, str(source)]
        if operation == "prune":
            said = self._help("prune")
            if "Usage:" not in said:
                return None
            at_once = ["--keep-delete", "0s"] if "--keep-delete" in said else []
            return [*base, "prune", "--max-unused", "0", *at_once]
        return {
            # The password is generated, and recoup asks whether it is.
            "init": [*base, "init", "--generated-password"],
            "restore": [*base, "restore", "latest", "--target", str(target)],
            "check": [*base, "check", "--read-data"],
            "forget": [*base, "forget", "--keep-last", "1", "--group-by", ""],
        }[operation]

    @functools.cache  # noqa: B019, one program for the life of the process
    def _help(self, verb: str) -> str:
        words = [self.binary, "repo", verb, "--help"]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout


class Restic(Tool):
    """The tool whose format it is."""

    name = "restic"
    version_words = ("version",)

    def argv(self, operation: str, source: Path, target: Path) -> list[str] | None:
        """With a cache of its own, which is its default."""
        base = [self.binary, "-q", "-r", str(self.repo), "--cache-dir", str(self.cache)]
        return {
            "init": [*base, "init"],
            "backup": [*base, "backup", str(source)],
            "restore": [*base, "restore", "latest", "--target", str(target)],
            "check": [*base, "check", "--read-data"],
            "forget": [*base, "forget", "--keep-last", "1", "--group-by", ""],
            "prune": [*base, "prune", "--max-unused", "0"],
        }[operation]


class Rustic(Tool):
    """The other tool for the same format."""

    name = "rustic"

    def argv(self, operation: str, source: Path, target: Path) -> list[str] | None:
        """It deletes at once, as the others do."""
        base = [self.binary, "-r", str(self.repo), "--cache-dir", str(self.cache)]
        return {
            "init": [*base, "init"],
            "backup": [*base, "backup", str(source)],
            "restore": [*base, "restore", f"latest:{source}", str(target)],
            "check": [*base, "check", "--read-data"],
            "forget": [*base, "forget", "--keep-last", "1", "--group-by", ""],
            "prune": [*base, "prune", "--max-unused", "0B", "--instant-delete"],
        }[operation]


class Borg(Tool):
    """The other widely used tool, with a format of its own."""

    name = "borg"

    def argv(self, operation: str, source: Path, target: Path) -> list[str] | None:
        """It names its archives itself, and the newest has to be asked for."""
        repo = str(self.repo)
        newest = 'exec "$0" extract "$1::$("$0" list --short --last 1 "$1")"'
        return {
            "init": [self.binary, "init", "-e", "repokey", repo],
            "backup": [self.binary, "create", "-C", "zstd,3", repo + "::{now:%Y%m%d%H%M%S%f}", str(source)],
            "restore": ["sh", "-c", newest, self.binary, repo],
            "check": [self.binary, "check", "--verify-data", repo],
            "forget": [self.binary, "prune", "--keep-last", "1", repo],
            "prune": [self.binary, "compact", "--threshold", "0", repo],
        }[operation]


TOOLS: dict[str, type[Tool]] = {tool.name: tool for tool in (Recoup, Restic, Rustic, Borg)}
