"""The wheel: what `pip install` gives in a fresh environment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the profile of the tests, in the folder that cargo used for them."""
    out = tmp_path_factory.mktemp("wheel")
    maturin = [sys.executable, "-m", "maturin", "build", "--profile", "dev", "--locked", "--out", str(out)]
    subprocess.run(maturin, cwd=ROOT, check=True, capture_output=True)
    (built,) = out.glob("recoup-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    pip: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        wheel,
    ]
    subprocess.run(pip, check=True, capture_output=True)
    return folder


def run(*command: str | Path, **variables: str) -> str:
    said = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **variables}, cwd="/"
    )
    assert said.returncode == 0, f"{command}: {said.stdout}{said.stderr}"
    return said.stdout.strip()


def test_the_wheel_holds_the_program_the_types_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "recoup/py.typed" in names
    assert "recoup/client.py" in names
    assert any(name.endswith(".data/scripts/recoup") for name in names)
    assert not [name for name in names if "tests/" in name or name.endswith(".pyc")]
    assert wheel.name.startswith("recoup-")
    assert "-py3-none-" in wheel.name


def test_the_wheel_needs_nothing(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode()
    assert "Requires-Dist" not in text
    assert "Requires-Python: >=3.10" in text


def test_the_program_is_on_the_path_of_a_fresh_environment(environment: Path) -> None:
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    said = run("sh", "-c", "command -v recoup && recoup --version", PATH=path)
    where, version = said.splitlines()
    assert where == str(environment / "bin" / "recoup")
    assert version.startswith("recoup ")
    assert run(environment / "bin" / "python", "-m", "recoup", "--version") == version


def test_python_finds_the_program_and_speaks_with_it(environment: Path) -> None:
    said = run(
        environment / "bin" / "python",
        "-W",
        "error",
        "-c",
        "import recoup; print(recoup.find_recoup_bin()); print(recoup.Client('.').version())",
    )
    where, version = said.splitlines()
    assert where == str(environment / "bin" / "recoup")
    assert version


@pytest.mark.parametrize("way", ["--target", "--prefix"])
def test_other_ways_to_install_are_found_too(
    wheel: Path, environment: Path, tmp_path: Path, way: str
) -> None:
    place = tmp_path / "place"
    python = environment / "bin" / "python"
    run(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--ignore-installed",
        way,
        str(place),
        wheel,
    )
    bare = tmp_path / "bare"
    venv.create(bare)
    packages = (
        place if way == "--target" else place / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    )
    said = run(
        bare / "bin" / "python",
        "-c",
        "import recoup; print(recoup.find_recoup_bin())",
        PYTHONPATH=str(packages),
    )
    assert said == str(place / "bin" / "recoup")
