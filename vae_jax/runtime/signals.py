"""SIGTERM, SIGINT and SIGHUP: the first stops training in order, the second ends the process.

Python runs signal handlers only between its own instructions, so a handler would wait for the
chunk or the compilation that is running. Here the interpreter writes each signal to a pipe
(``signal.set_wakeup_fd``) that a thread reads, so a signal is noticed at any time. That thread
waits for nobody, not for a terminal either: it prints by a thread of its own, and gives a terminal
:data:`LAST_WORDS_SECONDS` at the end.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

from vae_jax.runtime import terminal

GRACE_SECONDS = 25.0  # machines that are taken away commonly give 30
LAST_WORDS_SECONDS = 0.5
"""Time that a terminal is given for what was printed before the process ends at once."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StoppedError(Exception):
    """Error that ends a training after a signal, when its state is saved.

    Attributes:
        status: exit status of the process, 128 + the number of the signal.
    """

    def __init__(self, signum: int, message: str):
        super().__init__(f"{signal.Signals(signum).name}: {message}")
        self.status = 128 + signum


class Stop:
    """Request to stop, made by a signal.

    Inside of :meth:`deferred` a signal is noted and the block stops when it can. Outside of it
    there is nothing to save, and a signal ends the process at once.

    Example:
        >>> stop = Stop()
        >>> with stop.deferred():
        ...     stop.is_wanted
        False
    """

    def __init__(self) -> None:
        self._signum: int | None = None
        self._is_deferred = False
        self._timer: threading.Timer | None = None

    @property
    def is_wanted(self) -> bool:
        """True once there was a signal."""
        return self._signum is not None

    @property
    def signum(self) -> int:
        """Number of the signal that there was, or 0."""
        return self._signum or 0

    def follow(self, signum: int) -> None:
        """Take over the signal that another process received; 0 for none."""
        if signum and self._signum is None:
            self._signum = signum

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Note signals while the block lasts; the block reads ``is_wanted`` and stops by itself."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def raise_if_wanted(self, message: str) -> None:
        """End the training if there was a signal.

        Raises:
            StoppedError: there was a signal.
        """
        if self._signum is not None:
            raise StoppedError(self._signum, message)

    def receive(self, signum: int) -> None:
        """Note a signal; the second one, or one outside of :meth:`deferred`, ends the process."""
        if self._signum is not None or not self._is_deferred:
            return _exit(signum)
        self._signum = signum
        self._timer = threading.Timer(GRACE_SECONDS, _exit, [signum])
        self._timer.daemon = True
        self._timer.start()
        name = signal.Signals(signum).name
        _print(f"{name}: stopping after this chunk; a second signal exits at once")

    def cancel(self) -> None:
        """Cancel the timer that ends the process :data:`GRACE_SECONDS` after the first signal."""
        if self._timer is not None:
            self._timer.cancel()


def _print(line: str) -> None:
    """Print a line without waiting for it, whatever the standard output is."""
    threading.Thread(target=_print_and_flush, args=[line], daemon=True).start()


def _print_and_flush(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


def _exit(signum: int) -> None:
    """End the process as the signal would have.

    Files that are half written have temporary names, which the next start ignores.
    """
    last_words = threading.Thread(target=_last_words, daemon=True)
    last_words.start()
    last_words.join(LAST_WORDS_SECONDS)
    os._exit(128 + signum)


def _last_words() -> None:
    """Write what was printed, and show the cursor, which the progress bar hides."""
    with contextlib.suppress(OSError, ValueError):
        stream = terminal.behind_bar(sys.stdout)  # a bar would take the escape for text
        if stream.isatty():
            stream.write("\x1b[?25h\n")
        stream.flush()
        terminal.give_up_after(LAST_WORDS_SECONDS)


@contextlib.contextmanager
def watched() -> Iterator[Stop]:
    """Yield a :class:`Stop` that receives the signals of the process while the block lasts.

    A signal that the process ignores stays ignored. In a thread other than the main one, to which
    Python gives no signals, none is received.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handled = [s for s in SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
    before = {s: signal.signal(s, lambda *_: None) for s in handled}
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
    """Pass on signals from the pipe until a zero comes."""
    while number := os.read(reader, 1)[0]:
        if number in SIGNALS:
            stop.receive(number)
