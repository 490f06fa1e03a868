"""Entry point of ``vae-jax``, ``python -m vae_jax`` and ``python run.py``."""

import os
import sys


def run() -> int:
    """Run the command line of this process and return its exit status.

    XLA logs several lines for each program that it does not find in the cache and then compiles
    (openxla/xla issue 44565). Errors that matter are raised all the same, so its log is switched
    off unless the environment asks for it. JAX sets a level of its own when it is imported, so this
    comes first.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from vae_jax.cli import main
    from vae_jax.runtime import distributed

    return distributed.leave_if_stopped(main(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(run())
