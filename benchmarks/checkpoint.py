"""Measure the cost of checkpoints: ``python benchmarks/checkpoint.py``.

Trains the model of ``mnist.flags`` on ``mnist_5k`` with and without saving, in turns, with
the default intervals: chunks of 500 updates, a checkpoint every 1,000. Prints the share of the
training time by which saving lengthens it (median over rounds, the wait for the last write
included), what makes it up, and the processors' seconds, which other processes of a busy machine
move less.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import vae_jax
from vae_jax.training import loop
from vae_jax.training.checkpoint import Checkpoints


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    data = vae_jax.load("mnist_5k")
    spec = vae_jax.TrainSpec(vae_jax.VAE(data.image_shape, max_latents=20), binarize="dynamic")
    intervals = vae_jax.Intervals(flags.steps)
    _train(spec, data, vae_jax.Intervals(1), None)
    ratios, blocked, written, busy = [], [], [], []
    for number in range(flags.rounds):
        with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder)) as checkpoints:
            order = [None, checkpoints] if number % 2 else [checkpoints, None]
            runs = {with_ is not None: _train(spec, data, intervals, with_) for with_ in order}
        ratios.append(runs[True][0] / runs[False][0] - 1)
        blocked += runs[True][1]
        written.append(_write_alone(spec, data))
        busy.append(runs[False][2])
        print(f"round {number}: {runs[False][0]:.2f} s without, {runs[True][0]:.2f} s with")
    print(f"lengthened by {100 * statistics.median(ratios):.1f} % (rounds:", end=" ")
    print(", ".join(f"{100 * ratio:+.1f}" for ratio in ratios) + ")")
    print(f"save keeps the training waiting for {1e3 * statistics.median(blocked):.1f} ms, and")
    seconds, processor = (statistics.median(column) for column in zip(*written, strict=True))
    print(
        f"one checkpoint alone takes {1e3 * seconds:.0f} ms, {1e3 * processor:.0f} of a processor:"
    )
    share = processor * (flags.steps / intervals.checkpoint_every) / statistics.median(busy)
    print(f"{100 * share:.1f} % of what the training takes of the processors")


def _train(
    spec: vae_jax.TrainSpec,
    data: vae_jax.Dataset,
    intervals: vae_jax.Intervals,
    checkpoints: Checkpoints | None,
) -> tuple[float, list[float], float]:
    """Return the seconds of a training, those that each save took, and the processors'."""
    hparams, blocked = vae_jax.HParams.of(latent_size=20), []
    state = loop.initial_state(spec, hparams, data)
    began, busy = time.perf_counter(), time.process_time()
    for output in loop.train(spec, hparams, data, intervals, state):
        if checkpoints and intervals.is_due(output.step, intervals.checkpoint_every):
            before = time.perf_counter()
            checkpoints.save(output.step, output.state, {})
            blocked.append(time.perf_counter() - before)
    if checkpoints:
        checkpoints.wait()
    return time.perf_counter() - began, blocked, time.process_time() - busy


def _write_alone(spec: vae_jax.TrainSpec, data: vae_jax.Dataset) -> tuple[float, float]:
    """Return the seconds, and the processors', until a checkpoint is on an idle disk."""
    state = loop.initial_state(spec, vae_jax.HParams.of(latent_size=20), data)
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder)) as checkpoints:
        began, busy = time.perf_counter(), time.process_time()
        checkpoints.save(0, state, {})
        checkpoints.wait()
        return time.perf_counter() - began, time.process_time() - busy


if __name__ == "__main__":
    main()
