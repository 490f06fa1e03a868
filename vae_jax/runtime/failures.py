"""Parts of a result that may fail, such as figures: a failure costs that part alone."""

import contextlib
import errno
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from vae_jax.runtime.errors import InputError
from vae_jax.runtime.signals import StoppedError

_OF_A_FILE = (
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
)
_LIBRARIES = {"site-packages", "dist-packages", Path(traceback.__file__).parent.name}
"""Folders of code that is neither of the package nor of its user."""


class Failures:
    """Sentences on parts of a result that failed, in the order of their failures.

    Args:
        folder: folder that the parts are written to, whose disk concerns all of them.
        tell: is called with each sentence; None prints it on standard error, as the command line
            does.

    Attributes:
        sentences: one line each.

    Example:
        >>> import contextlib, io
        >>> failures = Failures()
        >>> with contextlib.redirect_stderr(io.StringIO()) as text, failures.caught("figure a"):
        ...     1 / 0
        >>> failures.sentences[0].startswith("figure a is missing (ZeroDivisionError: division by")
        True
        >>> text.getvalue().startswith("run.py: figure a is missing")
        True
    """

    def __init__(
        self, folder: Path | None = None, tell: Callable[[str], object] | None = None
    ) -> None:
        self.sentences: list[str] = []
        self._folder, self._tell = folder, tell or _print

    def _is_of_disk(self, error: Exception) -> bool:
        """Return whether an error is one of the disk, not of a network or of a file elsewhere."""
        if not isinstance(error, OSError) or error.errno is None:
            return False
        if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
            return False
        if self._folder is None or not isinstance(error.filename, str | os.PathLike):
            return True
        path, folder = Path(os.path.abspath(error.filename)), Path(os.path.abspath(self._folder))
        return path.is_relative_to(folder) or error.errno not in _OF_A_FILE

    @contextlib.contextmanager
    def caught(self, part: str) -> Iterator[None]:
        """Note an error of the block, and tell of it in one line.

        Not caught are errors of the disk on which the parts are written, which concern all of them,
        and signals. With several processes nothing is caught, because the others would wait for
        this one.

        Args:
            part: what the block makes, with its kind, such as ``figure samples``.
        """
        try:
            yield
        except StoppedError:
            raise
        except Exception as error:
            if jax.process_count() > 1 or self._is_of_disk(error):
                raise
            self.sentences.append(f"{part} is missing ({reason(error)})")
            self._tell(self.sentences[-1])


def _print(sentence: str) -> None:
    print(f"run.py: {sentence}", file=sys.stderr, flush=True)


def reason(error: Exception) -> str:
    """Return type, message and place of an error in one line."""
    message = InputError(str(error)[:500]) if str(error) else ""
    if isinstance(error, InputError):
        return str(message)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _LIBRARIES & {*Path(frame.filename).parts}] or frames
    place = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}{f': {message}' if message else ''}{place}"
