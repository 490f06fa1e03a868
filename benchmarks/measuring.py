"""Common parts of the benchmarks: a compiled training, its rounds, images, memory."""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vae_jax.hparams import HParams
from vae_jax.training import step, vectorized
from vae_jax.training.batches import Examples
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState, TrainTerms
from vae_jax.training.vectorized import Layout

Advance = Callable[[], None]
"""Does its share of the work and waits for it."""


class Training:
    """Runs of a spec in one compiled program of updates, which go on at each call of ``advance``.

    Attributes:
        num_runs: seeds 0 to ``num_runs - 1``.
        max_steps: most updates of a call.
        layout: distribution of the runs.
        compile_seconds: spent on building the program.
        megabytes: of the program: arguments, temporaries, and results that are no arguments.
        text: the program as compiled.
    """

    def __init__(
        self,
        spec: TrainSpec,
        examples: Examples,
        num_runs: int,
        max_steps: int,
        layout: Layout | None = None,
        *,
        is_length_known: bool = False,
    ):
        """Compile.

        Args:
            spec: model and training.
            examples: the training set on the device.
            num_runs: in the study.
            max_steps: most updates of a call, or all of them where their number is known.
            layout: distribution of the runs; None for all of them in one vmap.
            is_length_known: compile for ``max_steps`` updates and no other number.
        """
        self.num_runs, self.max_steps = num_runs, max_steps
        self.layout = layout or Layout(max_parallel_runs=num_runs)
        self._examples, self._is_length_known = examples, is_length_known
        seeds = list(range(num_runs))
        self._hparams = HParams.of(seed=seeds, latent_size=spec.model.max_latents)
        mean = jnp.full(spec.model.image_shape, 0.1)
        self.state = vectorized.init(spec, self._hparams, mean, layout=self.layout)
        began = time.perf_counter()
        self._compiled = self._lowered(spec).compile()
        self.compile_seconds = time.perf_counter() - began
        self.text = self._compiled.as_text() or ""
        memory = self._compiled.memory_analysis()
        parts = ("argument", "temp", "output")
        used = sum(getattr(memory, f"{part}_size_in_bytes") for part in parts) if memory else 0
        self.megabytes = (used - (memory.alias_size_in_bytes if memory else 0)) / 1e6

    def _lowered(self, spec: TrainSpec) -> Any:
        if not self._is_length_known:
            return vectorized.train_chunk.lower(
                *(spec, self._hparams, self.state, self._examples, jnp.int32(self.max_steps)),
                max_steps=self.max_steps,
                layout=self.layout,
            )

        def advance(
            examples: Examples, hparams: HParams, state: TrainState
        ) -> tuple[TrainState, TrainTerms]:
            length: Any = self.max_steps  # a number of Python's is known to the compiler
            return step.train_chunk(
                spec, hparams, state, examples, length, max_steps=self.max_steps
            )

        def chunk(
            hparams: HParams, state: TrainState, examples: Examples
        ) -> tuple[TrainState, TrainTerms]:
            return vectorized.over_runs(advance, self.layout)(examples, hparams, state)

        arguments = self._hparams, self.state, self._examples
        return jax.jit(chunk, donate_argnums=1).lower(*arguments)

    def advance(self, num_steps: int | None = None) -> None:
        """Do ``num_steps`` updates of every run, ``max_steps`` where none are given."""
        length = () if self._is_length_known else (jnp.int32(num_steps or self.max_steps),)
        self.state, _ = self._compiled(self._hparams, self.state, self._examples, *length)
        jax.block_until_ready(self.state)


def seconds_of(advance: Advance) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    advance()
    return time.perf_counter() - began


def measure(contenders: dict[str, Advance], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each contender in each round, after one unmeasured call of each."""
    for advance in contenders.values():
        advance()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, advance in contenders.items():
            seconds[name].append(seconds_of(advance))
    return seconds


def images(num: int) -> np.ndarray:
    """Return gray images of MNIST's size, four pixels in five black; no time depends on them."""
    rng = np.random.default_rng(0)
    shape = (num, 28, 28, 1)
    return rng.integers(0, 256, shape, np.uint8) * (rng.random(shape, np.float32) < 0.2)


def peak_memory_mb() -> float:
    """Return the largest so far, of the accelerator where it tells, else of this process."""
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def machine() -> str:
    """Return the device and the versions behind a measurement, as one line."""
    device = jax.devices()[0]
    return f"{device.device_kind} ({device.platform}), jax {jax.__version__}"
