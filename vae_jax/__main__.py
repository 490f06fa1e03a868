"""Entry point of ``vae-jax``, ``python -m vae_jax`` and ``python run.py``."""

import os
import signal
import sys


def run() -> int:
    """Run the command line of this process and return its exit status.

    XLA logs several lines for each program that it does not find in the cache and then compiles
    (openxla/xla issue 44565). Errors that matter are raised all the same, so its log is switched
    off unless the environment asks for it. JAX sets a level of its own when it is imported, so this
    comes first.

    Until signals are watched, and after that, Ctrl-C ends the process as SIGTERM does: Python's own
    handler would print where in the imports it was.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from vae_jax.cli import main
    from vae_jax.runtime import distributed

    return distributed.leave_at_once(main(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(run())
