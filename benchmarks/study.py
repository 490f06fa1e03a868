"""Compare a study as one program with its runs one by one.

    python benchmarks/study.py                    # steps: 1, 4, 16, 64 runs of 784-400-20
    python benchmarks/study.py --processes=16     # whole commands: a study, and as many processes

Steps are measured in one process, round after round; in each round every size of study runs once,
and a ratio is the median over rounds of the ratio within a round. Images are synthetic. Whole
commands start from nothing: imports, compilation, 1,000 updates on mnist_5k, evaluation, report.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
from measuring import Advance, Training, images, machine, peak_memory_mb, seconds_of

from vae_jax.hparams import HParams
from vae_jax.models.networks import MLP
from vae_jax.models.vae import VAE
from vae_jax.training import vectorized
from vae_jax.training.batches import Examples
from vae_jax.training.memory import layout_for
from vae_jax.training.spec import TrainSpec

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1, 4, 16, 64)
SPEC = TrainSpec(VAE((28, 28, 1), 20, MLP((400,))), batch_size=128, binarize="dynamic")


class Study(NamedTuple):
    """Study of one size in a compiled program."""

    num_runs: int
    layout: vectorized.Layout
    first_call: float
    advance: Advance


def study(num_runs: int, examples: Examples, steps: int, max_parallel_runs: int) -> Study:
    """Compile the program of a study; ``first_call`` is what that takes, initial state included."""
    began = time.perf_counter()
    hparams = HParams.of(seed=list(range(num_runs)))
    layout = layout_for(SPEC, hparams, max_parallel_runs)
    training = Training(SPEC, examples, num_runs, steps, layout)
    training.advance(1)
    return Study(num_runs, layout, time.perf_counter() - began, training.advance)


def compare_steps(sizes: tuple[int, ...], steps: int, rounds: int, max_parallel_runs: int) -> None:
    """Return milliseconds per update and run of each size, and the seconds of its first call."""
    examples, studies, memory = Examples(jnp.asarray(images(4_000))), [], []
    for size in sizes:
        studies.append(study(size, examples, steps, max_parallel_runs))
        studies[-1].advance()
        memory.append(peak_memory_mb())
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for each in studies:
            milliseconds = 1e3 * seconds_of(each.advance) / (steps * each.num_runs)
            times[each.num_runs].append(milliseconds)
    print(
        f"{'runs':>5}{'at once':>9}{'ms/step/run':>13}{'/ alone':>9}{'first call s':>14}{'MB':>8}"
    )
    for each, megabytes in zip(studies, memory, strict=True):
        mine = times[each.num_runs]
        ratio = statistics.median(map(float.__truediv__, mine, times[sizes[0]]))
        at_once = each.layout.max_parallel_runs
        print(
            f"{each.num_runs:5}{at_once:13}{statistics.median(mine):13.3f}{ratio:13.2f}"
            f"{each.first_call:13.2f}{megabytes:13.0f}"
        )


def command(folder: str, name: str, *flags: str) -> float:
    """Return the seconds of a whole command."""
    began = time.perf_counter()
    arguments = ["--flagfile=mnist.flags", "--dataset=mnist_5k", f"--workdir={folder}/{name}"]
    subprocess.run(
        [sys.executable, "run.py", *arguments, *flags],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def compare_processes(num_runs: int, steps: int) -> None:
    """Compare one command with all seeds with one command per seed, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        length = f"--num_steps={steps}"
        together = command(folder, "study", length, f"--sweep=seed=0:{num_runs}")
        apart = [
            command(folder, f"run{seed}", length, f"--seed={seed}") for seed in range(num_runs)
        ]
    print(f"a study of {num_runs} runs, {steps} updates each: {together:.1f} s")
    print(f"{num_runs} processes: {sum(apart):.1f} s, {statistics.median(apart):.1f} s each")
    print(f"study / processes: {together / sum(apart):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--steps", type=int, default=20, help="updates per size and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max_parallel_runs", type=int, default=0, help="as the flag of run.py")
    parser.add_argument("--processes", type=int, default=0, help="compare whole commands instead")
    parser.add_argument("--process_steps", type=int, default=1000)
    args = parser.parse_args()
    print(f"{machine()}, {os.cpu_count()} cores")
    if args.processes:
        compare_processes(args.processes, args.process_steps)
    else:
        compare_steps(tuple(args.sizes), args.steps, args.rounds, args.max_parallel_runs)


if __name__ == "__main__":
    main()
