"""Standard output and error that can neither stop nor end a program.

A terminal may take no more (a pager, Ctrl-S, a stalled connection), be gone (``| head -1``, a dead
``tee``, a connection that was hung up), be closed from the start, or know ASCII only. A program
that writes to it by ``print`` is stopped or ended by that, between any two of its steps. Here what
is printed goes into a queue, from which a thread writes it. What cannot be written is lost, and
nothing else.
"""

import collections
import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

MOST_BYTES = 2**20
"""Bytes that wait for a terminal that takes no more, before further ones are lost."""
PATIENCE_SECONDS = 3.0
"""Time that a terminal is given at the end without a byte that it takes."""


class PatientStream(io.TextIOBase):
    """Text stream that never blocks or fails, in front of one that may.

    Args:
        stream: standard stream of the process, None where it was closed.
        descriptor: its file descriptor, None for a stream of another kind, to which text is written
            at once.

    Example:
        >>> text = io.StringIO()
        >>> stream = PatientStream(text, None)
        >>> stream.write("a line")
        6
        >>> text.getvalue()
        'a line'
    """

    def __init__(self, stream: Any, descriptor: int | None):
        super().__init__()
        self._stream, self._descriptor = stream, descriptor
        self._waiting: collections.deque[bytes] = collections.deque()
        self._num_waiting = 0
        self._changed = threading.Condition()
        self._is_broken = stream is None
        if descriptor is not None:
            threading.Thread(target=self._write_all, daemon=True).start()

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Encoding of the stream; what it cannot express is escaped."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Treatment of characters that the encoding does not have."""
        return "backslashreplace"

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def fileno(self) -> int:
        """Return the file descriptor of the stream."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take a text; it is written as soon as the terminal takes it."""
        data = text.encode(self.encoding, "backslashreplace")
        if self._descriptor is None:
            self._write_at_once(data.decode(self.encoding))
            return len(text)
        with self._changed:
            is_taken = not self._is_broken and self._num_waiting + len(data) <= MOST_BYTES
            if is_taken:
                self._waiting.append(data)
                self._num_waiting += len(data)
                self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Do nothing but where the stream has no thread: all is written as soon as it can be."""
        if self._descriptor is None and self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()

    def drain(self, seconds: float) -> bool:
        """Wait until all is written, while bytes are taken; return whether it is.

        Args:
            seconds: time to wait for the next byte.
        """
        with self._changed:
            while self._num_waiting and not self._is_broken:
                before = self._num_waiting
                self._changed.wait(seconds)
                if self._num_waiting == before:
                    return False
        return True

    def end(self) -> None:
        """Lose what is not written yet, and take no more."""
        with self._changed:
            self._is_broken = True
            self._waiting.clear()
            self._num_waiting = 0
            self._changed.notify_all()

    def _write_at_once(self, text: str) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text)

    def _write_all(self) -> None:
        """Write what waits, until the end."""
        assert self._descriptor is not None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_broken)
                if self._is_broken:
                    return
                data = self._waiting.popleft()
            try:
                while data:
                    written = os.write(self._descriptor, data)
                    data = data[written:]
                    with self._changed:
                        self._num_waiting -= written
                        self._changed.notify_all()
            except BlockingIOError:  # a terminal that others made non-blocking
                with self._changed:
                    self._waiting.appendleft(data)
                time.sleep(0.05)
            except OSError:
                self.end()


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Print by patient streams for as long as the block lasts.

    Standard streams that are closed are opened on nothing first, or the next file to be opened
    would get their numbers, and what libraries print.
    """
    _open_closed()
    before = sys.stdout, sys.stderr
    streams = [
        PatientStream(stream, _descriptor(stream, original))
        for stream, original in ((sys.stdout, sys.__stdout__), (sys.stderr, sys.__stderr__))
    ]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        for stream in streams:
            stream.drain(PATIENCE_SECONDS)
            stream.end()
        sys.stdout, sys.stderr = before


def give_up_after(seconds: float) -> None:
    """Wait a while until what was printed is written, and lose the rest."""
    for stream in (sys.stdout, sys.stderr):
        own = behind_bar(stream)
        if isinstance(own, PatientStream) and not own.drain(seconds):
            own.end()


def behind_bar(stream: Any) -> Any:
    """Return the stream itself, in front of which rich puts one while a progress bar is shown."""
    return getattr(stream, "rich_proxied_file", stream)


def _descriptor(stream: Any, original: Any) -> int | None:
    """Return the descriptor of a standard stream, None where another object took its place."""
    if stream is None or stream is not original:
        return None
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
        return stream.fileno()
    return None


def _open_closed() -> None:
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
