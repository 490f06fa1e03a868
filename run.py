"""Train, evaluate and draw variational autoencoders: ``python run.py --flagfile=mnist.flags``."""

import sys

from vae_jax.__main__ import run

if __name__ == "__main__":
    sys.exit(run())
