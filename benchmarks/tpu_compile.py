"""Compile our programs with a TPU's own compiler, on a machine without a TPU.

    pip install "libtpu==0.0.42.*"      # beside jax 0.10.2; Linux only, not in requirements.txt
    python benchmarks/tpu_compile.py
    python benchmarks/tpu_compile.py --parts=mlp,study --chips=1 --runs=1,48,195,800

Nothing is run. Each program is compiled for TPU v5e, with one chip and with four, and a row of a
Markdown table says what came out: seconds of compilation (of this machine's processor, tracing
left out), memory of temporaries and of arguments on each chip, how many fusions and custom calls
the device carries out in a round of the loop with the most of them (an update, a particle, a
leapfrog step), and what the chips send each other. Data are 60,000 images of 28 x 28, as in MNIST.
"""

import argparse
import contextlib
import functools
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ.update(
    JAX_PLATFORMS="cpu",
    TPU_SKIP_MDS_QUERY="1",
    TPU_WORKER_HOSTNAMES="localhost",
    TPU_ACCELERATOR_TYPE="v5litepod-4",
    ALLOW_MULTIPLE_LIBTPU_LOAD="1",  # the lock keeps two processes off one chip; here is none
)

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import PartitionSpec as P
from jax.sharding import Sharding, SingleDeviceSharding

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vae_jax import rng
from vae_jax.config import build, command_line, sweeps
from vae_jax.evaluation import scoring
from vae_jax.evaluation.elbo import EvalSpec
from vae_jax.evaluation.metrics import ais, hmc
from vae_jax.evaluation.metrics.ais import AnnealSpec, EvalBatch
from vae_jax.hparams import HParams
from vae_jax.runtime import mesh
from vae_jax.runtime.mesh import Devices
from vae_jax.training import vectorized
from vae_jax.training.batches import Examples
from vae_jax.training.memory import bytes_per_run
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState
from vae_jax.training.vectorized import Layout

IMAGE_SHAPE = (28, 28, 1)
NUM_TRAIN, NUM_TEST = 60_000, 10_000
_MNIST = "--flagfile=mnist.flags"
_CONV = ("--network=conv", "--hidden_sizes=256", "--latent_size=16", "--batch_size=64")
TRAININGS = {
    "mlp": (_MNIST,),
    "study": ("--flagfile=tpu.flags",),
    "conv": (_MNIST, *_CONV, "--sweep=seed=0:16"),
}
"""Flags of the trainings; the conv net is that of ``train_step.py``."""
ONE = Devices()
PARTS = (*TRAININGS, "nll", "ais")
COLUMNS = (
    *("program", "chips", "runs", "compile s", "processor s", "temporary MB", "arguments MB"),
    *("allotted MB a run", "loops", "fusions", "custom calls", "kcycles", "sent"),
)


class Facts(NamedTuple):
    """Properties of a compiled program; bytes are those of one chip.

    Attributes:
        seconds: of compilation.
        processor_seconds: of the same, which other work on the machine hardly changes.
        temporary: bytes of intermediate values.
        arguments: bytes of what the program is given, images included.
        loops: loops inside the one with the most fusions.
        fusions: in a round of that loop.
        custom_calls: in a round of that loop.
        cycles: of a round of that loop, as the compiler estimates them.
        collectives: what the chips send each other, by kind.
    """

    seconds: float
    processor_seconds: float
    temporary: int
    arguments: int
    loops: int
    fusions: int
    custom_calls: int
    cycles: int
    collectives: dict[str, int]


class Program(NamedTuple):
    """Program to compile, without its numbers.

    Attributes:
        name: in the table.
        num_runs: that it advances.
        spec: of their training.
        lower: makes what the compiler is given.
    """

    name: str
    num_runs: int
    spec: TrainSpec
    lower: Callable[[], Any]


def facts(program: Program) -> Facts:
    """Compile a program, and read what came out."""
    lowered = program.lower()
    began, worked = time.perf_counter(), time.process_time()
    compiled = lowered.compile()
    seconds, processor_seconds = time.perf_counter() - began, time.process_time() - worked
    memory, text = compiled.memory_analysis(), compiled.as_text()
    return Facts(
        seconds,
        processor_seconds,
        memory.temp_size_in_bytes,
        memory.argument_size_in_bytes,
        *busiest_loop(text),
        collectives(text),
    )


def busiest_loop(text: str) -> tuple[int, int, int, int]:
    """Count loops, fusions, custom calls and cycles directly in the body with the most fusions."""
    bodies = set(re.findall(r" while\(.*?body=%?([\w.-]+)", text))
    found = [(0, 0, 0, 0)]
    for computation in re.split(r"\n(?=%)", text):
        if re.split(r"[ (]", computation, maxsplit=1)[0].lstrip("%") in bodies:
            kinds = Counter(re.findall(r" (while|fusion|custom-call)\(", computation))
            cycles = map(int, re.findall(r'"estimated_cycles":"(\d+)"', computation))
            found.append((kinds["while"], kinds["fusion"], kinds["custom-call"], sum(cycles)))
    return max(found, key=lambda counted: counted[1])


def collectives(text: str) -> dict[str, int]:
    """Count the collectives of a program by kind."""
    kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    return dict(Counter(re.findall(rf" ({kinds})(?:-start)?\(", text)))


@contextlib.contextmanager
def chips(num_chips: int) -> Iterator[None]:
    """Let JAX's devices be those of a TPU v5e that only the compiler knows."""
    topology = topologies.get_topology_desc(
        platform="tpu", topology_name="v5e:2x2", chips_per_host_bounds=(2, 2, 1), num_slices=1
    )
    with mock.patch.object(jax, "devices", return_value=topology.devices[:num_chips]):
        yield


def described(shapes: Any, devices: Devices = ONE, axis: str | None = None) -> Any:
    """Return arrays without numbers: shapes, dtypes and shardings."""
    sharding: Sharding | None = mesh._sharding(devices, P(axis) if axis else P())
    sharding = sharding or SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )


def states(spec: TrainSpec, hparams: HParams) -> TrainState:
    """Return the shapes of the states of all runs."""
    mean = jax.ShapeDtypeStruct(spec.model.image_shape, jnp.float32)
    return jax.eval_shape(functools.partial(vectorized.init, spec), hparams, mean)


def examples(*shape: int) -> Examples:
    """Return a number of images without their pixels."""
    return jax.eval_shape(Examples, jax.ShapeDtypeStruct((*shape, *IMAGE_SHAPE), jnp.uint8))


def training(name: str, flags: tuple[str, ...], num_chips: int) -> Program:
    """Return the chunk of updates of a study, split over the chips by runs, or by batch for one."""
    rows = sweeps.configs(command_line.parse(flags))
    common = rows[0].replace(latent_size=max(row.latent_size for row in rows))
    hparams = build.hparams(rows)
    spec = build.train_spec(common, IMAGE_SHAPE).specialized(hparams)
    devices = Devices(1, num_chips) if len(rows) == 1 else Devices(num_chips, 1)
    layout = Layout(math.ceil(len(rows) / devices.run), *devices)
    images = examples(NUM_TRAIN)

    def lower() -> Any:
        return vectorized.train_chunk.lower(
            spec,
            described(hparams, devices, "run"),
            described(states(spec, hparams), devices, "run"),
            described(images, devices),
            described(jax.ShapeDtypeStruct((), jnp.int32), devices),
            max_steps=build.intervals(common).longest_chunk,
            layout=layout,
        )

    return Program(name, len(rows), spec, lower)


def nll(spec: TrainSpec, num_particles: int) -> Program:
    """Return the importance-weighted NLL of one run on the test images, a thousand at a time."""
    hparams = HParams.of(seed=[0], latent_size=spec.model.max_latents)
    images = examples(NUM_TEST // 1000, 1000)

    def lower() -> Any:
        return scoring.evaluate_runs.lower(
            EvalSpec(spec.model, num_particles),
            *map(described, (hparams, states(spec, hparams).params, images)),
            num_examples=NUM_TEST,
            layout=Layout(),
        )

    return Program(f"NLL, K = {num_particles}", 1, spec, lower)


def annealing(spec: TrainSpec, num_examples: int = 100) -> Program:
    """Return one transition of 16 chains for each of a hundred examples, ten leapfrog steps."""
    anneal = AnnealSpec(spec.model)
    hparams = HParams.of(seed=[0], latent_size=spec.model.max_latents)

    def transition(batch: EvalBatch) -> jax.Array:
        path, t, state, noise_fn = ais.initial_chains(anneal, batch, ais.FORWARD, anneal.num_chains)
        step, noise = jnp.full_like(state.z, ais.FIRST_STEP), noise_fn(jnp.int32(1))
        state, _ = hmc.transition(path, t[1], step, anneal.num_leapfrog, state, noise)
        return state.log_target

    def batch(hparams: HParams, state: TrainState) -> EvalBatch:
        own, params = vectorized.take((hparams, state.params), 0)
        x = jnp.zeros((num_examples, *IMAGE_SHAPE))
        return EvalBatch(
            own, params, x, None, rng.stream(own.seed, "ais", 0), jnp.arange(num_examples)
        )

    def lower() -> Any:
        asked = jax.eval_shape(batch, hparams, states(spec, hparams))
        return jax.jit(transition).lower(described(asked))

    return Program("one AIS transition", 1, spec, lower)


def programs(part: str, num_chips: int, sizes: list[int]) -> Iterator[Program]:
    """Return the programs of a part of the table; the evaluation of one run needs only one chip."""
    if part in TRAININGS:
        flags = TRAININGS[part]
        for size in sizes:
            without = tuple(flag for flag in flags if not flag.startswith("--sweep"))
            yield training(part, (*without, f"--sweep=seed=0:{size}"), num_chips)
        if not sizes:
            yield training(part, flags, num_chips)
    elif num_chips == 1:
        spec = training("mlp", TRAININGS["mlp"], 1).spec
        yield annealing(spec) if part == "ais" else nll(spec, 100)


def main() -> None:
    """Print a row for each program as soon as it is compiled."""
    parser = argparse.ArgumentParser(description="Compile for a TPU, without one.")
    parser.add_argument("--parts", default=",".join(PARTS), help="which programs")
    parser.add_argument("--chips", default="1,4", help="how many, 1 to 4")
    parser.add_argument("--runs", default="", help="seeds, instead of what the flags sweep")
    parser.add_argument("--precision", default="highest", help="of float32 matrix products")
    options = parser.parse_args()
    sizes = [int(size) for size in options.runs.split(",") if size]
    jax.config.update("jax_enable_compilation_cache", False)
    jax.config.update("jax_default_matmul_precision", options.precision)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for num_chips in map(int, options.chips.split(",")):
        for part in options.parts.split(","):
            with chips(num_chips):
                for program in programs(part, num_chips, sizes):
                    print(f"| {' | '.join(row(program, num_chips, facts(program)))} |", flush=True)


def row(program: Program, num_chips: int, found: Facts) -> list[str]:
    """Return a row of the table; a run needs all but the images, on the chip that holds it."""
    sent = ", ".join(f"{number} {kind}" for kind, number in found.collectives.items())
    return [
        program.name,
        str(num_chips),
        str(program.num_runs),
        f"{found.seconds:.1f}",
        f"{found.processor_seconds:.1f}",
        f"{found.temporary / 1e6:.1f}",
        f"{found.arguments / 1e6:.1f}",
        f"{bytes_per_run(program.spec) / 1e6:.1f}",
        str(found.loops),
        str(found.fusions),
        str(found.custom_calls),
        f"{found.cycles / 1e3:,.0f}",
        sent or "none",
    ]


if __name__ == "__main__":
    main()
