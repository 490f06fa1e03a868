"""Command line of the package: flags in, exit status out."""

import sys
from collections.abc import Sequence

from vae_jax.config import command_line, flags
from vae_jax.pipeline import run
from vae_jax.runtime import distributed, signals
from vae_jax.runtime.errors import InputError


def main(argv: Sequence[str]) -> int:
    """Run a command line and return its exit status.

    Args:
        argv: arguments without the name of the program.

    Returns:
        0 when the workdir is complete; 2 after a mistake in flags or data, or where the workdir
        cannot be written, which one line on standard error explains; 1 where another process of
        the run is gone; 143 or 130 after SIGTERM or SIGINT.

    Example:
        >>> main(["--beta=-1"])
        2
    """
    try:
        if {"-h", "--help", "--helpfull"} & set(argv):
            print(flags.help_text(command_line.known_flags(argv)))
            return 0
        with signals.watched() as stop:
            run.run(command_line.parse(argv), stop)
    except InputError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return distributed.leave(2)
    except distributed.LostProcessError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return distributed.leave(1)
    except signals.StoppedError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return error.status
    return 0
