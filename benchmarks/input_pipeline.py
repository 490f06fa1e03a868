"""Measure the cost of streaming: ``python benchmarks/input_pipeline.py``.

The conv net at 64 x 64 is trained on the same images twice, with all of them on the device and
with batches that are gathered on the host, in turns within one process. Prints milliseconds per
update of both and the median over rounds of their ratio, once for images in memory and once for
images in a file that is mapped. The images are synthetic; no time depends on what they show.
"""

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import jax
import numpy as np

import vae_jax
from vae_jax.data import Dataset, Provenance
from vae_jax.training import loop


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=10, help="updates per round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--channels", type=int, default=3, help="of the images")
    parser.add_argument("--batch_size", type=int, default=64)
    flags = parser.parse_args()
    shape = (64, 64, flags.channels)
    model = vae_jax.VAE(shape, max_latents=16, network=vae_jax.Conv((32, 64), (256,)))
    spec = vae_jax.TrainSpec(model, batch_size=flags.batch_size)
    machine = f"{os.cpu_count()} cores, jax {jax.__version__}"
    print(f"conv 32-64 on {shape}, batch {flags.batch_size}, {machine}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        mapped = np.lib.format.open_memmap(
            Path(folder) / "train.npy", "w+", np.uint8, (flags.images, *shape)
        )
        mapped[:] = np.random.default_rng(0).integers(0, 256, mapped.shape, np.uint8)
        in_memory = np.array(mapped)
        ways = {
            "on the device": (in_memory, "yes"),
            "from memory": (in_memory, "no"),
            "from a mapped file": (mapped, "no"),
        }
        trainings = {
            name: _Training(spec, images, way, flags.steps) for name, (images, way) in ways.items()
        }
        rounds = [
            {name: training.milliseconds() for name, training in trainings.items()}
            for _ in range(flags.rounds)
        ]
    for name in ways:
        ratio = statistics.median(each[name] / each["on the device"] for each in rounds)
        own = statistics.median(each[name] for each in rounds)
        print(f"{name:20} {own:8.2f} ms per update, {100 * (ratio - 1):+.1f} %")


class _Training:
    """Training that goes on by one chunk of updates at each call."""

    def __init__(self, spec: vae_jax.TrainSpec, images: np.ndarray, on_device: str, steps: int):
        few, hparams = np.array(images[:64]), vae_jax.HParams.of(latent_size=16)
        record = Provenance("synthetic", "synthetic", "random numbers", "")
        data = Dataset(images, few, few, None, None, None, record)
        intervals = vae_jax.Intervals(2**20, steps, eval_every=2**20, checkpoint_every=2**20)
        state = loop.initial_state(spec, hparams, dataclasses.replace(data, train=few))
        self._steps = steps
        self._outputs = loop.train(spec, hparams, data, intervals, state, on_device=on_device)
        self.milliseconds()

    def milliseconds(self) -> float:
        """Return the milliseconds of one update, everything included."""
        began = time.perf_counter()
        jax.block_until_ready(next(self._outputs).state)
        return 1e3 * (time.perf_counter() - began) / self._steps


if __name__ == "__main__":
    main()
