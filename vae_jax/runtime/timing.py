"""Seconds: since the command was given, and of each part of a job."""

import os
import time
from pathlib import Path

_IMPORTED = time.monotonic()


def seconds_since_command() -> float:
    """Seconds since this process began, or where no system tells, since the import of this."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        began = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began
    except (OSError, AttributeError, IndexError, ValueError):
        return time.monotonic() - _IMPORTED


class Clock:
    """Seconds of each part of a job."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a part and begin the next."""
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 2)
        self._last = now
