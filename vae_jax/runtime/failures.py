"""Parts of a result that may fail, such as figures: a failure costs that part alone."""

import contextlib
import errno
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from vae_jax.runtime.errors import InputError
from vae_jax.runtime.signals import StoppedError

_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE)
_PACKAGE = Path(__file__).parent.parent.name


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

    @contextlib.contextmanager
    def caught(self, part: str) -> Iterator[None]:
        """Note an error of the block, and tell of it in one line.

        Not caught are errors of the folder's disk, which concern all parts, and signals. With
        several processes nothing is caught, because the others would wait for this one.

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

    def _is_of_disk(self, error: Exception) -> bool:
        """Return whether an error is one of the disk: of a file there, or of no file that is named.

        A file elsewhere, as weights that an evaluator from outside reads, concerns that part alone.
        """
        if not isinstance(error, OSError):
            return False
        if error.errno in _OF_DISKS or self._folder is None:
            return error.errno in _OF_DISKS
        names = [name for name in (error.filename, error.filename2) if isinstance(name, str | Path)]
        return any(Path(name).absolute().is_relative_to(self._folder.absolute()) for name in names)


def _print(sentence: str) -> None:
    print(f"run.py: {sentence}", file=sys.stderr, flush=True)


def reason(error: Exception) -> str:
    """Return type, message and place of an error in one line."""
    message = InputError(str(error)[:500]) if str(error) else ""
    if isinstance(error, InputError):
        return str(message)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _PACKAGE in Path(frame.filename).parts] or frames
    place = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}{f': {message}' if message else ''}{place}"
