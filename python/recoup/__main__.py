"""`python -m recoup ...` is the program itself."""

from __future__ import annotations

import os
import sys

from recoup._find import BinaryNotFoundError, find_recoup_bin


def main() -> None:
    """Become the program."""
    try:
        binary = find_recoup_bin()
    except BinaryNotFoundError as error:
        sys.exit(str(error))
    os.execv(binary, [binary, *sys.argv[1:]])  # noqa: S606 - an argument list, no shell


if __name__ == "__main__":
    main()
