"""The two data sets that need a PostgreSQL server. It is a private one: its data, its socket and its
settings live in a temporary folder, it listens on no network, and it is stopped before this returns.
It never touches a server that runs already.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

SETTINGS = """
listen_addresses = ''
wal_level = replica
max_wal_size = 4GB
shared_buffers = 256MB
synchronous_commit = off
fsync = off
autovacuum = off
"""

# pgbench's own filler is nearly empty, so a table with text is added.
DOCUMENTS = """
select setseed(0.42);
create table docs as
  select g as id, md5(g::text) as k, repeat(md5(random()::text) || ' ', 6) as body,
    (random() * 1e9)::bigint as n
  from generate_series(1, {rows}) g;
alter table docs add primary key (id);
vacuum analyze;
checkpoint;
"""

LEFT_OUT = shutil.ignore_patterns("pg_wal", "postmaster.pid", "postmaster.opts", "*.log")


def programs() -> Path | None:
    """The folder of the newest server's programs, if there is one."""
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Server:
    """A private server in `home`."""

    def __init__(self, home: Path, bin_folder: Path) -> None:
        self.home = home
        self.bin = bin_folder
        self.data = home / "data"
        # PostgreSQL does not run as root.
        self.user = self._user() if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(home, self.user)

    @staticmethod
    def _user() -> str:
        try:
            return pwd.getpwnam("postgres").pw_name
        except KeyError:
            return "nobody"

    def run(self, program: str, *words: str, out: Path | None = None) -> None:
        """Runs one of its programs to the end."""
        with contextlib.ExitStack() as stack:
            stdout = stack.enter_context(out.open("wb")) if out else subprocess.DEVNULL
            subprocess.run(
                [self.bin / program, *words],
                check=True,
                cwd=self.home,
                user=self.user,
                stdout=stdout,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            )

    def client(self, program: str, *words: str, out: Path | None = None) -> None:
        """Runs a client against it."""
        self.run(program, "-h", str(self.home), "-U", "bench", *words, out=out)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Starts it, and stops it whatever happens."""
        log = str(self.home / "server.log")
        self.run("pg_ctl", "-D", str(self.data), "-o", f"-k {self.home}", "-l", log, "-w", "start")
        try:
            yield
        finally:
            self.run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop")


def make(gen1: Path, gen2: Path, scale: int, documents: int, transactions: int) -> None:
    """Makes both generations of `pg` and `dump`."""
    bin_folder = programs()
    if bin_folder is None:
        raise SystemExit("the sets pg and dump need a PostgreSQL server: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="recoup-bench-pg-") as home:
        os.chmod(home, 0o700)
        server = Server(Path(home), bin_folder)
        server.run("initdb", "-D", str(server.data), "--no-sync", "-A", "trust", "-U", "bench", "--locale=C")
        with (server.data / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS)
        with server.running():
            server.client("createdb", "bench")
            server.client("pgbench", "-i", "-s", str(scale), "-q", "bench")
            # In one session, for the seed; each on its own, for vacuum.
            each = [word for one in DOCUMENTS.format(rows=documents).split(";")[:-1] for word in ("-c", one)]
            server.client("psql", "-q", "-v", "ON_ERROR_STOP=1", *each, "bench")
            _dump(server, gen1)
        _copy(server, gen1)
        with server.running():
            of_each = str(max(1, transactions // 4))
            server.client("pgbench", "-n", "-t", of_each, "-c", "4", "-j", "2", "--random-seed=42", "bench")
            server.client("psql", "-q", "-c", "checkpoint", "bench")
            _dump(server, gen2)
        _copy(server, gen2)


def _dump(server: Server, generation: Path) -> None:
    folder = generation / "dump"
    folder.mkdir(exist_ok=True)
    server.client("pg_dump", "-Fp", "bench", out=folder / "bench.sql")


def _copy(server: Server, generation: Path) -> None:
    """The data folder of the stopped server, without its log, which would drown the tables."""
    target = generation / "pg"
    shutil.rmtree(target, ignore_errors=True)
    unfinished = generation / "pg.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(server.data, unfinished, ignore=LEFT_OUT)
    unfinished.rename(target)
