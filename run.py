"""Train, evaluate and show a variational autoencoder: ``python run.py --flagfile=mnist.flags``."""

import sys

from vae_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
