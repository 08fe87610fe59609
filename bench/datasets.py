"""Data sets for the benchmarks, made from one fixed seed. It never measures anything.

    python3 bench/datasets.py ROOT --scale small|full [SET ...]

A set has two generations, `ROOT/gen1/SET` and `ROOT/gen2/SET`: what is there at first, and what is there
at the next backup. Names, sizes, contents and times are the same on every machine, but for the two sets
that a PostgreSQL server makes (`pg`, `dump`), whose bytes depend on the server's version.

    media   files that do not compress, 0.1 to 20 MB; then 1 % rewritten, 1 % appended to, 5 new
    source  text files of a source tree; then 1 % edited in the middle, 50 new
    sqlite  one SQLite database; then 1 % of the rows of each table updated at random
    many    tiny files of 16 to 2048 bytes; then 1 % rewritten
    pg      tables and indexes of a PostgreSQL cluster, without its log; then after small transactions
    dump    the plain dump of the same database, before and after them
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SEED = 20260801
EPOCH = 1_700_000_000


@dataclass(frozen=True)
class Scale:
    """How large the sets are."""

    media_bytes: int
    source_files: int
    sqlite_bytes: int
    many_files: int
    pg_scale: int
    pg_documents: int
    pg_transactions: int


SCALES = {
    "small": Scale(150_000_000, 6_000, 100_000_000, 30_000, 5, 75_000, 600),
    "full": Scale(1_500_000_000, 60_000, 1_000_000_000, 300_000, 100, 1_500_000, 6_000),
}


def seeded(tag: str) -> random.Random:
    """A stream of numbers of its own for each purpose."""
    return random.Random(f"{SEED}/{tag}")


def put(path: Path, data: bytes, age: int = 0) -> None:
    """Writes a file whose time is `age` seconds after the epoch of the sets."""
    path.write_bytes(data)
    os.utime(path, (EPOCH + age, EPOCH + age))


def files_of(base: Path) -> list[Path]:
    """Every file, in an order that is the same everywhere."""
    return sorted(path for path in base.rglob("*") if path.is_file())


# media


def media(base: Path, scale: Scale) -> None:
    """Files that do not compress, with sizes evenly spread on a logarithmic scale."""
    r = seeded("media")
    made = 0
    for i in range(sys.maxsize):
        if made >= scale.media_bytes:
            break
        size = int(100_000 * (200 ** r.random()))
        folder = base / f"{i % 40:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        put(folder / f"img_{i:05d}.bin", r.randbytes(size))
        made += size


def change_media(base: Path, _scale: Scale) -> None:
    """Rewrites 1 % of the files, appends to 1 %, adds five."""
    r = seeded("change/media")
    files = files_of(base)
    some = max(1, len(files) // 100)
    for path in r.sample(files, some):
        put(path, r.randbytes(path.stat().st_size), 10)
    for path in r.sample(files, some):
        put(path, path.read_bytes() + r.randbytes(1_000_000), 20)
    for i in range(5):
        put(base / f"new_{i}.bin", r.randbytes(4_000_000), 20)


# source

SYLLABLES = (
    "ba co di fu ge ho in ja ka le mo ne or pa qu re si tu un vo wa xe yo za str tion ing er ment able"
).split()
KEYWORDS = (
    "def return if else for in import from class self None True False with as try except raise yield "
    "lambda assert while not and"
).split()


def vocabulary(r: random.Random, size: int = 24_000) -> list[str]:
    """Words that look like the names in a program."""
    words: dict[str, None] = {}
    while len(words) < size:
        word = "".join(r.choice(SYLLABLES) for _ in range(r.randint(1, 4)))
        if r.random() < 0.25:
            word += "_" + r.choice(SYLLABLES)
        words[word] = None
    return list(words)


def line(r: random.Random, words: list[str]) -> str:
    """One line of a program or of its comments."""

    def word() -> str:
        return words[min(int(r.expovariate(1 / 1500)), len(words) - 1)]

    kind = r.random()
    indent = "    " * r.choice((0, 1, 1, 2, 2, 3))
    if kind < 0.30:
        return f"{indent}{word()} = {word()}.{word()}({word()}, {r.randint(0, 9999)})"
    if kind < 0.45:
        return f"{indent}{r.choice(KEYWORDS)} {word()} {r.choice(KEYWORDS)} {word()}:"
    if kind < 0.60:
        return f"{indent}return {word()}[{word()!r}] + {word()}"
    if kind < 0.80:
        return f"{indent}# " + " ".join(word() for _ in range(r.randint(4, 12)))
    if kind < 0.90:
        return f'{indent}raise {word().title()}Error("{word()} {word()} %s" % {word()})'
    return ""


def text(r: random.Random, words: list[str], pool: list[str], size: int) -> bytes:
    """A file of lines: real trees repeat licences, imports and idioms, so half of them come from a pool
    in which some are far more common than others.
    """
    lines, length = [], 0
    while length < size:
        if r.random() < 0.55:
            one = pool[min(int(r.expovariate(1 / 30_000)), len(pool) - 1)]
        else:
            indent = "    " * r.randint(0, 3)
            one = indent + " ".join(r.choices(words, k=r.randint(2, 9))) + f" {r.getrandbits(20):x}"
        lines.append(one)
        length += len(one) + 1
    return "\n".join(lines).encode()


def source(base: Path, scale: Scale) -> None:
    """A tree of source files."""
    r = seeded("source")
    words = vocabulary(r)
    pool = [line(r, words) for _ in range(200_000)]
    for i in range(scale.source_files):
        package, module = divmod(i // 25, 40)
        folder = base / f"pkg_{package:03d}" / f"mod_{module:02d}"
        if i % 25 == 0:
            folder.mkdir(parents=True)
        size = min(int(r.lognormvariate(8.9, 1.25)) + 40, 2_000_000)
        put(folder / f"{words[i % 9000]}_{i}.py", text(r, words, pool, size))


def change_source(base: Path, _scale: Scale) -> None:
    """Edits 1 % of the files in the middle, adds fifty."""
    r = seeded("change/source")
    files = files_of(base)
    for path in r.sample(files, max(1, len(files) // 100)):
        data = bytearray(path.read_bytes())
        at = r.randrange(len(data))
        data[at:at] = b"\n# edited " + str(r.getrandbits(64)).encode() + b"\n"
        put(path, bytes(data), 10)
    for i in range(50):
        put(base / f"new_{i}.py", r.randbytes(9_000).hex().encode(), 10)


# many


def many(base: Path, scale: Scale) -> None:
    """Tiny files, a hundred in a folder; every second one compresses."""
    r = seeded("many")
    for i in range(scale.many_files):
        folder = base / f"{i // 10_000:02d}" / f"{(i // 100) % 100:02d}"
        if i % 100 == 0:
            folder.mkdir(parents=True)
        size = r.randint(16, 2048)
        put(folder / f"f{i:06d}", r.randbytes(size // 2).hex().encode() if i & 1 else r.randbytes(size))


def change_many(base: Path, _scale: Scale) -> None:
    """Rewrites 1 % of the files."""
    r = seeded("change/many")
    files = files_of(base)
    for path in r.sample(files, max(1, len(files) // 100)):
        put(path, r.randbytes(path.stat().st_size), 10)


# sqlite

TABLES = """
create table users(id integer primary key, email text not null, name text, bio text, created integer);
create table orders(
  id integer primary key, user_id integer, state text, amount integer, note text, token blob);
create table events(id integer primary key, order_id integer, kind text, payload text, at integer);
"""
INDEXES = """
create index orders_user on orders(user_id);
create index events_order on events(order_id);
"""
INSERTS = {
    "users": "insert into users values(?,?,?,?,?)",
    "orders": "insert into orders values(?,?,?,?,?,?)",
    "events": "insert into events values(?,?,?,?,?)",
}
UPDATES = {
    "users": "update users set bio=bio||? where id=?",
    "orders": "update orders set state=?||'', amount=amount+1 where id=?",
    "events": "update events set payload=payload||? where id=?",
}
COUNTS = {
    "users": "select max(id) from users",
    "orders": "select max(id) from orders",
    "events": "select max(id) from events",
}
STATES = ("new", "paid", "shipped", "done", "refunded")
Rows = dict[str, list[tuple[object, ...]]]


def batches(r: random.Random, words: list[str]) -> Iterator[Rows]:
    """Users with their orders and events, five thousand users at a time, without end."""
    user = order = event = 0
    while True:
        rows: Rows = {"users": [], "orders": [], "events": []}
        for _ in range(5000):
            user += 1
            name = r.choice(words)
            bio = " ".join(r.choices(words, k=12))
            rows["users"].append((user, f"{name}{user}@example.org", name.title(), bio, EPOCH + user))
            for _ in range(3):
                order += 1
                state, amount, owner = r.choice(STATES), r.randint(100, 99999), r.randint(1, user)
                note = " ".join(r.choices(words, k=6))
                rows["orders"].append((order, owner, state, amount, note, r.randbytes(32)))
                for _ in range(2):
                    event += 1
                    word, number, tag = r.choice(words), r.randint(0, 10**6), r.choice(words)
                    payload = f'{{"k":"{word}","v":{number},"tag":"{tag}","ref":"{r.getrandbits(64):016x}"}}'
                    rows["events"].append((event, order, r.choice(STATES), payload, EPOCH + event))
        yield rows


def sqlite(base: Path, scale: Scale) -> None:
    """One database of three tables and two indexes, which take about a seventh of it."""
    r = seeded("sqlite")
    path = base / "app.db"
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in ("page_size=4096", "journal_mode=off", "synchronous=off", "cache_size=-262144"):
        connection.execute(f"pragma {setting}")
    connection.executescript(TABLES)
    for rows in batches(r, vocabulary(r, 6000)):
        connection.execute("begin")
        for table, insert in INSERTS.items():
            connection.executemany(insert, rows[table])
        connection.execute("commit")
        if path.stat().st_size > scale.sqlite_bytes * 0.86:
            break
    connection.executescript(INDEXES)
    connection.close()
    os.utime(path, (EPOCH, EPOCH))


def change_sqlite(base: Path, _scale: Scale) -> None:
    """Updates 1 % of the rows of each table at random."""
    r = seeded("change/sqlite")
    path = base / "app.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma synchronous=off")
    connection.execute("pragma journal_mode=memory")
    connection.execute("begin")
    for table, update in UPDATES.items():
        top = connection.execute(COUNTS[table]).fetchone()[0]
        connection.executemany(
            update, [(r.choice(STATES), i) for i in r.sample(range(1, top + 1), top // 100)]
        )
    connection.execute("commit")
    connection.close()
    os.utime(path, (EPOCH + 10, EPOCH + 10))


# all of them

Make = Callable[[Path, Scale], None]
MADE: dict[str, tuple[Make, Make]] = {
    "media": (media, change_media),
    "source": (source, change_source),
    "sqlite": (sqlite, change_sqlite),
    "many": (many, change_many),
}
SERVED = ("pg", "dump")
SETS = ("media", "source", "pg", "sqlite", "dump", "many")


def make(root: Path, scale_name: str, names: list[str]) -> None:
    """Makes both generations of the named sets, but for those that are there already."""
    scale = SCALES[scale_name]
    gen1, gen2 = root / "gen1", root / "gen2"
    for generation in (gen1, gen2):
        generation.mkdir(parents=True, exist_ok=True)
    # The server's two sets are made together, and the copy of its tables is the last thing done.
    done = {name: (gen2 / ("pg" if name in SERVED else name)).is_dir() for name in names}
    absent = [name for name in names if not done[name]]
    for name in absent:
        if name not in MADE:
            continue
        print(f"making {name} ({scale_name})", flush=True)
        first, change = MADE[name]
        shutil.rmtree(gen1 / name, ignore_errors=True)
        (gen1 / name).mkdir()
        first(gen1 / name, scale)
        # The second generation gets its name when it is whole.
        unfinished = gen2 / f"{name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(gen1 / name, unfinished)
        change(unfinished, scale)
        unfinished.rename(gen2 / name)
    if any(name in SERVED for name in absent):
        import postgres

        print(f"making pg and dump ({scale_name})", flush=True)
        postgres.make(gen1, gen2, scale.pg_scale, scale.pg_documents, scale.pg_transactions)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET")
    parser.add_argument("--scale", choices=SCALES, default="small")
    args = parser.parse_args()
    make(args.root, args.scale, args.sets)


if __name__ == "__main__":
    main()
