"""Train, evaluate and show a variational autoencoder: ``python run.py --flagfile=mnist.flags``."""

import os
import sys

# XLA complains of programs that it does not take from a cache, which are then compiled, by several
# lines each (openxla/xla issue 44565); errors that matter are raised all the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from vae_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
