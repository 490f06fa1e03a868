"""The command line: flags in, exit status out."""

import sys
from collections.abc import Sequence

from vae_jax.config import command_line, schema
from vae_jax.pipeline import run
from vae_jax.runtime import distributed, signals
from vae_jax.runtime.errors import InputError


def main(argv: Sequence[str]) -> int:
    """Run a command line (without the program's name) and return its exit status.

    0 when the workdir is complete; 2 after a mistake in flags or data, or where the workdir cannot
    be written, told in one line; 1 where another process of the run is gone; 143 or 130 after
    SIGTERM or SIGINT.
    """
    if {"-h", "--help", "--helpfull"} & set(argv):
        print(schema.help_text())
        return 0
    try:
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
