"""Kill a study again and again: ``python -m tests.robustness.soak --kills=100``.

Six runs in two programs are trained by real processes that die by SIGKILL at seeded random
moments, in any phase from the imports to the report. A killed study is started again until it is
complete, and compared with one that nobody disturbed: final arrays, ``results.csv`` and
``metrics.jsonl`` must be equal to the last bit, but for the seconds. Then the next study begins.
"""

import argparse
import math
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.robustness.processes import Process, save_images, what_is_left

NUM_GROUPS = 2
LONGEST_LIFE = 0.45  # of the time that an undisturbed study takes
STUDY = [
    *("--batch_size=16", "--eval_particles=3", "--binarize=dynamic", "--num_steps=20000"),
    *("--sweep=hidden_sizes=8/9", "--sweep=latent_size=2,3,4"),
    # chunks so short that also a machine at work for others need not make them shorter
    *("--chunk_steps=250", "--eval_every=1000", "--checkpoint_every=2000"),
]


def soak(folder: Path, kills: int, seed: int) -> int:
    """Return the number of kills that a study survived to the last bit."""
    chance, images = random.Random(seed), save_images(folder / "images.npz")
    argv = [f"--dataset={images}", *STUDY]
    expected, _ = _undisturbed(argv, folder / "first")  # compiles what all others take from disk
    again, seconds = _undisturbed(argv, folder / "second")
    if again != expected:
        raise SystemExit("two undisturbed studies differ: killed ones cannot be compared")
    print(f"undisturbed: {seconds:.0f} s", flush=True)
    done = survived = 0
    while done < kills:
        lives = (chance.uniform(0.0, LONGEST_LIFE * seconds) for _ in range(kills - done))
        died, problem = _one_study(argv, folder / "killed", lives, expected)
        done += max(died, bool(problem))
        survived += 0 if problem else died
        print(f"{survived} of {done} kills survived{problem}", flush=True)
    return survived


def _undisturbed(argv: list[str], workdir: Path) -> tuple[dict, float]:
    """Return the results of a study that is never killed, and the seconds that it takes."""
    began = time.monotonic()
    process = Process([*argv, f"--workdir={workdir}"])
    if process.wait(1800.0) != 0:
        raise SystemExit(process.output)
    return what_is_left(workdir, NUM_GROUPS), time.monotonic() - began


def _one_study(
    argv: list[str], workdir: Path, lives: Iterator[float], expected: dict
) -> tuple[int, str]:
    """Run one study to its end and return the number of its kills and what went wrong.

    Its processes live as long as ``lives`` says, and when these are used up, until it is complete.
    """
    shutil.rmtree(workdir, ignore_errors=True)
    died = 0
    while True:
        process = Process([*argv, f"--workdir={workdir}"])
        if _is_killed(process, next(lives, math.inf)):
            died += 1
            continue
        status = process.wait(1800.0)
        if status != 0:
            return died, f"; status {status}: {process.output}"
        found = what_is_left(workdir, NUM_GROUPS)
        wrong = [name for name in expected if found[name] != expected[name]]
        return died, f"; other {', '.join(wrong)} than undisturbed" if wrong else ""


def _is_killed(process: Process, seconds: float) -> bool:
    """Kill the process after some time unless it ends before; return whether it was killed."""
    end = time.monotonic() + seconds
    while process.is_running and time.monotonic() < end:
        time.sleep(0.002)
    process.send(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def main() -> int:
    """Parse, soak and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        survived = soak(Path(folder), flags.kills, flags.seed)
    minutes = (time.monotonic() - began) / 60
    print(
        f"{survived} of {flags.kills} kills survived: final arrays, results.csv and metrics.jsonl "
        f"equal to the undisturbed study's to the last bit; seed {flags.seed}, {minutes:.0f} min"
    )
    return 0 if survived == flags.kills else 1


if __name__ == "__main__":
    sys.exit(main())
