"""Run the commands that the documentation shows.

A fenced block whose info string is `console run` is a session: lines that start with `$ ` are commands,
run in order by one shell that stops at the first failure, in a fresh folder made for the page. The lines
below a command are its output: a line that is `...` stands for any lines, `...` inside a line for any
text, no lines for whatever it says. A block with `file=NAME` is written to that file first. The blocks
of one page share the folder and where they are in it. `$SHOP` is a copy of the example shop, ready to
run, made only when a page mentions it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "=== output of command"


def pages() -> list[Path]:
    """The README and every page that is written by hand."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("guides/*.md"))]


def commands_of(body: str) -> list[tuple[str, list[str]]]:
    """Split a session into commands with the output each is said to have."""
    found: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1] = (found[-1][0] + "\n" + line[2:], [])
        elif found:
            found[-1][1].append(line)
    return found


def fits(expected: list[str], said: list[str]) -> bool:
    """Whether the output is what the page shows; no lines on the page expect nothing."""
    if not expected:
        return True
    pattern = ""
    for line in expected:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(re.escape(part) for part in line.rstrip().split("...")) + r"[ \t]*\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in said)) is not None


def environment(folder: Path) -> dict[str, str]:
    """Keep the machine's settings, but none of recoup's or restic's."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("RECOUP_", "RESTIC_", "DJANGO_", "VIRTUAL_ENV"))
    }
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
    kept["PATH"] = f"{target}{os.pathsep}{kept['PATH']}"
    kept["RECOUP_STATE_DIR"] = str(folder / "state")
    kept["RESTIC_CACHE_DIR"] = str(folder / "cache")
    kept["HOME"] = str(folder / "home")
    kept["COLUMNS"] = "110"
    return kept


def shop(folder: Path) -> Path:
    """Make a small copy of the example shop."""
    place = folder / "shop"
    shutil.copytree(ROOT / "examples" / "shop", place)
    python = place / ".venv" / "bin" / "python"
    base = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    (place / ".env").write_text("SHOP_SECRET_KEY=only-for-this-page\n")
    for command in (
        [base, "-m", "venv", place / ".venv"],
        [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "-r",
            place / "requirements.txt",
        ],
        [python, "manage.py", "migrate", "-v0"],
        [python, "manage.py", "fill", "--orders", "80", "--media-mb", "3"],
    ):
        subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)
    return place


def run_page(page: Path) -> int:
    """Run one page and return how many commands it has."""
    text = page.read_text("utf-8")
    count = 0
    if "```console run" not in text:
        return 0
    # Not under /tmp: a drill hides that folder from the application.
    with tempfile.TemporaryDirectory(
        prefix="recoup-doc-", dir="/srv" if os.access("/srv", os.W_OK) else None
    ) as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "home").mkdir()
        variables = environment(folder)
        if "$SHOP" in text:
            variables["SHOP"] = str(shop(folder))
        for fence in FENCE.finditer(text):
            info = fence["info"].split()
            named = [word.removeprefix("file=") for word in info if word.startswith("file=")]
            if named:
                (folder / named[0]).write_text(fence["body"])
            if info[:2] == ["console", "run"]:
                line = text[: fence.start()].count("\n") + 1
                count += run_session(page, line, commands_of(fence["body"]), folder, variables)
    return count


def run_session(
    page: Path, line: int, commands: list[tuple[str, list[str]]], folder: Path, variables: dict[str, str]
) -> int:
    """Run one block in one shell; the folder it ends in is where the next block of the page begins."""
    where = folder / ".where"
    start = where.read_text().strip() if where.exists() else str(folder)
    script = "set -euo pipefail\n" + "".join(f"echo '{MARK}'\n{command}\n" for command, _ in commands)
    script += f"pwd >'{where}'\n"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=start,
        env=variables,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    place = page.relative_to(ROOT)
    if done.returncode != 0:
        sys.exit(f"{place}:{line}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    parts = done.stdout.split(f"{MARK}\n")[1:]
    for (command, expected), said in zip(commands, parts, strict=True):
        while expected and not expected[-1].strip():
            expected.pop()
        if not fits(expected, said.rstrip("\n").splitlines()):
            sys.exit(f"{place}:{line}: `{command}` says something else than the page:\n{said}")
    return len(commands)


def main() -> None:
    """Run every page."""
    total = 0
    for page in pages():
        count = run_page(page)
        if count:
            print(f"{page.relative_to(ROOT)}: {count} commands")
        total += count
    print(f"{total} commands run")


if __name__ == "__main__":
    main()
