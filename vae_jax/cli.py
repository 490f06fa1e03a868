"""Command line of the package: flags in, exit status out."""

import sys
from collections.abc import Sequence

from vae_jax.config import command_line, flags
from vae_jax.pipeline import run
from vae_jax.runtime import distributed, signals, terminal
from vae_jax.runtime.errors import InputError


def main(argv: Sequence[str]) -> int:
    """Run a command line and return its exit status.

    Args:
        argv: arguments without the name of the program.

    Returns:
        0 when the workdir is complete; 1 where all is there but figures or evaluations that failed,
        with a line for each, or where another process of the run is gone; 2 after a mistake in
        flags or data, or where the workdir cannot be written, which one line on standard error
        explains; 143, 130 or 129 after SIGTERM, SIGINT or SIGHUP.

    Example:
        >>> main(["--beta=-1"])
        2
    """
    with terminal.patient():
        return _main(argv)


def _main(argv: Sequence[str]) -> int:
    """Run a command line; nothing that is printed can stop or end it."""
    try:
        if {"-h", "--help", "--helpfull"} & set(argv):
            print(flags.help_text(command_line.known_flags(argv)))
            return 0
        with signals.watched() as stop:
            missing = run.run(command_line.parse(argv), stop)
    except InputError as error:
        print(f"run.py: {flags.with_dashes(str(error))}", file=sys.stderr)
        return distributed.leave(2)
    except distributed.LostProcessError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return distributed.leave(1)
    except signals.StoppedError as error:
        print(f"run.py: {error}", file=sys.stderr)
        terminal.give_up_after(signals.LAST_WORDS_SECONDS)
        return error.status
    except OSError as error:
        if error.errno is None:
            raise
        where = f" at {error.filename}" if error.filename else ""
        reason = InputError(f"{error.strerror}{where}")
        print(f"run.py: {reason}; mend that, then start the same command again", file=sys.stderr)
        return distributed.leave(2)
    return 1 if missing else 0
