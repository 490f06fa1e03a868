"""Number of processor cores, counted once before scikit-learn needs it."""

import contextlib
import functools
import io
import warnings

import joblib


@functools.cache
def count_quietly() -> int:
    """Return the number of cores that scikit-learn's threads will use.

    joblib counts physical cores once in a process. Where it cannot, as in many containers, it
    takes the logical ones, which is fine, and prints a warning with a traceback, which no setting
    of it turns off.

    Example:
        >>> count_quietly() >= 1
        True
    """
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        return joblib.cpu_count(only_physical_cores=True)
