"""SIGTERM and SIGINT: the first asks for an orderly stop, the second ends the process at once.

Python runs signal handlers between its own instructions only, so a handler would wait for the
chunk or the compilation that is under way. Here the interpreter's wakeup descriptor tells a thread,
which sees a signal at any time.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

GRACE_SECONDS = 25.0  # machines that are taken away commonly give 30
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StoppedError(Exception):
    """Training that a signal ended, after its state was saved."""

    def __init__(self, signum: int, words: str):
        super().__init__(f"{signal.Signals(signum).name}: {words}")
        self.status = 128 + signum


class Stop:
    """Whether a signal has asked for an end.

    Outside of :meth:`deferred` there is nothing to save, and a signal ends the process at once.
    """

    def __init__(self) -> None:
        self._signum: int | None = None
        self._is_deferred = False
        self._timer: threading.Timer | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether there was a signal."""
        return self._signum is not None

    @property
    def signum(self) -> int:
        """The signal that there was, or 0."""
        return self._signum or 0

    def follow(self, signum: int) -> None:
        """Stop as another process does, which had this signal; 0 for none."""
        if signum and self._signum is None:
            self._signum = signum

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Leave it to the block to look at ``is_wanted`` and to stop."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def raise_if_wanted(self, words: str) -> None:
        """End the training if there was a signal.

        Raises:
            StoppedError: there was.
        """
        if self._signum is not None:
            raise StoppedError(self._signum, words)

    def receive(self, signum: int) -> None:
        """Take note of a signal; the second, or one that need not wait, ends the process."""
        if self._signum is not None or not self._is_deferred:
            return _exit(signum)
        self._signum = signum
        self._timer = threading.Timer(GRACE_SECONDS, _exit, [signum])
        self._timer.daemon = True
        self._timer.start()
        name = signal.Signals(signum).name
        print(f"{name}: stopping after this chunk; a second signal exits at once", flush=True)

    def cancel(self) -> None:
        """Forget the limit of time."""
        if self._timer is not None:
            self._timer.cancel()


def _exit(signum: int) -> None:
    """End the process as the signal would have; what is half written is passed over next time."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[?25h\n")  # the progress bar hides the cursor
        sys.stdout.flush()
    os._exit(128 + signum)


@contextlib.contextmanager
def watched() -> Iterator[Stop]:
    """A :class:`Stop` that hears the process's signals while the block lasts.

    A signal that the process was told to ignore stays ignored. In a thread other than the main
    one, which Python gives no signals, nothing is heard.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    heard = [s for s in SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
    before = {s: signal.signal(s, lambda *_: None) for s in heard}
    descriptor = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(reader, stop), daemon=True)
    listener.start()
    try:
        yield stop
    finally:
        stop.cancel()
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(writer, b"\0")
        listener.join()
        os.close(reader)
        os.close(writer)


def _listen(reader: int, stop: Stop) -> None:
    """Hand on signals until a zero comes."""
    while number := os.read(reader, 1)[0]:
        if number in SIGNALS:
            stop.receive(number)
