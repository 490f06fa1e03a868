"""Clocks: seconds since the command was given, and seconds of each stage of a program."""

import os
import time
from pathlib import Path

_IMPORTED = time.monotonic()


def seconds_since_command() -> float:
    """Return the seconds since this process began.

    Where the operating system does not tell (it does on Linux), count from the import of this
    module.

    Example:
        >>> seconds_since_command() > 0
        True
    """
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        began = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began
    except (OSError, AttributeError, IndexError, ValueError):
        return time.monotonic() - _IMPORTED


class Clock:
    """Stopwatch for the consecutive stages of a program.

    Attributes:
        laps: seconds of each stage by its name, rounded to hundredths.

    Example:
        >>> clock = Clock()
        >>> clock.lap("data")
        >>> clock.lap("train")
        >>> list(clock.laps)
        ['data', 'train']
    """

    def __init__(self) -> None:
        """Begin the first stage."""
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a stage, note its seconds under a name and begin the next stage."""
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 2)
        self._last = now
