"""Where the `recoup` program of this very installation is.

The wheel puts it beside the other programs of its environment. `PATH` is never asked: whatever
stands there first may be another version, or a stranger.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path


class BinaryNotFoundError(FileNotFoundError):
    """The program is in none of the places where an installer puts it."""


def find_recoup_bin() -> str:
    """Return the path of the `recoup` program that was installed together with this package.

    Raises:
        BinaryNotFoundError: naming every place that was searched.

    """
    name = "recoup" + (sysconfig.get_config_var("EXE") or "")
    searched: list[str] = []
    for folder in _folders():
        path = os.path.join(folder, name)
        if path not in searched:
            searched.append(path)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
    places = "\n".join(f"  {path}" for path in searched)
    raise BinaryNotFoundError(f"no recoup program was installed with this package; searched:\n{places}")


def _folders() -> list[str]:
    """Every place an installer may have used, the likeliest first."""
    package = Path(__file__).resolve().parent
    folders = [
        # This environment, and the one it was made from.
        sysconfig.get_path("scripts"),
        sysconfig.get_path("scripts", vars={"base": sys.base_prefix}),
    ]
    # `pip install --prefix DIR` gives DIR/lib/pythonX.Y/site-packages/recoup and DIR/bin.
    if len(package.parents) > 3 and package.parents[2].name in ("lib", "lib64"):
        folders.append(str(package.parents[3] / "bin"))
    # `pip install --target DIR` gives DIR/recoup and DIR/bin.
    folders.append(str(package.parent / "bin"))
    # `pip install --user`.
    folders.append(sysconfig.get_path("scripts", scheme=sysconfig.get_preferred_scheme("user")))
    return [folder for folder in folders if folder]
