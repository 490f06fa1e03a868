"""Compute the operations and bytes of one update of one run: ``python benchmarks/scaling.py``.

Nothing is timed. Operations are those that XLA counts in the program of an update before it is
optimised. Bytes are ten numbers a parameter: the weights are read forwards and backwards, the
gradient is written and read, weights and both moments are read and written; activations come on
top. An update takes at least its operations over the peak, and at least its bytes over the
bandwidth. "sent" is the all-reduce of a gradient: twice its bytes over the link.
"""

import functools
import math
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).parent.parent))

from vae_jax import VAE, Conv, HParams, ResNet, TrainSpec
from vae_jax.training import step
from vae_jax.training.batches import Examples
from vae_jax.training.memory import bytes_per_run
from vae_jax.training.step import TrainState

NUMBERS_MOVED = 10


class Chip(NamedTuple):
    """Public figures of a device: operations a second, bytes a second, bytes, bytes sent a second.

    Operations are those of dense products in bfloat16 (of a T4, float16); bytes sent are those of
    one direction of the link between cards.
    """

    name: str
    peak: float
    bandwidth: float
    memory: float
    link: float
    kinds: tuple[str, ...]
    """Names of the device in JAX."""


CHIPS = (
    Chip("v5e", 197e12, 819e9, 16e9, 200e9, ("TPU v5 lite", "TPU v5e")),
    Chip("H200", 989e12, 4.8e12, 141e9, 450e9, ("H200",)),
    Chip("H100", 989e12, 3.35e12, 80e9, 450e9, ("H100 80GB HBM3",)),
    Chip("A100", 312e12, 2.039e12, 80e9, 300e9, ("A100-SXM4-80GB",)),
    Chip("L4", 121e12, 300e9, 24e9, 32e9, ("NVIDIA L4",)),
    Chip("T4", 65e12, 320e9, 16e9, 16e9, ("Tesla T4",)),
)
"""Data sheets: Google Cloud's "TPU v5e", NVIDIA's of each card (SXM where there is one)."""
SHOWN = ("v5e", "H200")
SPECS = {
    "mlp 784-400-20": TrainSpec(VAE((28, 28, 1), 20), batch_size=128, binarize="dynamic"),
    "conv 28x28": TrainSpec(VAE((28, 28, 1), 16, Conv((32, 64), (256,))), batch_size=64),
    "conv 64x64x3": TrainSpec(VAE((64, 64, 3), 16, Conv((32, 64), (256,))), batch_size=64),
    "celeba64.flags": TrainSpec(
        VAE((64, 64, 3), 128, ResNet((64, 128, 256), hidden_sizes=(512,))), batch_size=128
    ),
}


def main() -> None:
    """Print a line for each network and chip."""
    print(f"{'':16}{'params':>11}{'GFLOP':>8}{'MB':>8}{'FLOP/B':>8}", end="")
    print(f"{'chip':>7}{'us FLOP':>9}{'us bytes':>9}{'runs fit':>9}{'us sent':>9}")
    for name, spec in SPECS.items():
        params, operations = facts(spec)
        moved = 4 * NUMBERS_MOVED * params
        line = f"{name:16}{params:11,}{operations / 1e9:8.2f}{moved / 1e6:8.1f}"
        for chip in (chip for chip in CHIPS if chip.name in SHOWN):
            fitting = int(0.8 * chip.memory / bytes_per_run(spec))
            print(f"{line}{operations / moved:8.1f}{chip.name:>7}", end="")
            print(f"{1e6 * operations / chip.peak:9.1f}{1e6 * moved / chip.bandwidth:9.1f}", end="")
            print(f"{fitting:9,}{1e6 * 2 * 4 * params / chip.link:9.1f}")


def chip_of(kind: str) -> Chip | None:
    """Return the public figures of a device if they are known, of exactly that model."""
    return next((chip for chip in CHIPS if any(kind.endswith(name) for name in chip.kinds)), None)


def facts(spec: TrainSpec) -> tuple[int, float]:
    """Return the number of parameters, and the operations of an update."""
    shape = spec.model.image_shape
    hparams = HParams.of(latent_size=spec.model.max_latents)
    mean = jax.ShapeDtypeStruct(shape, jnp.float32)
    state = jax.eval_shape(functools.partial(step.init, spec), hparams, mean)
    pixels = jax.ShapeDtypeStruct((spec.batch_size, *shape), jnp.uint8)

    def update(hparams: HParams, state: TrainState, pixels: jax.Array) -> TrainState:
        batch = step.draw_batch(spec, step.BatchKeys.at(hparams, state.step), Examples(pixels))
        return step.train_step(spec, hparams, state, batch, spec.batch_size)[0]

    with jax.default_device(jax.devices("cpu")[0]):  # others do not count before they compile
        cost = jax.jit(update).lower(hparams, state, pixels).cost_analysis()
    params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
    return params, (cost or {})["flops"]


if __name__ == "__main__":
    main()
