"""Runs one command and writes what it cost: wall and CPU seconds, MiB at the peak, exit status. It does
nothing else and loads as little as it can: the kernel lets a process inherit the peak memory of the one
that starts it, so the one that starts it has to be small.

    python3 -I -S bench/launch.py FIGURES COMMAND [WORD ...]
"""

import os
import sys
import time


def main() -> None:
    """Runs the command in a process of its own and waits for it."""
    begun = time.perf_counter()
    child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - begun
    code = os.waitstatus_to_exitcode(status)
    with open(sys.argv[1], "w") as out:
        out.write(f"{wall} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss / 1024} {code}\n")


main()
