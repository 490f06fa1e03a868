"""Measure our programs on an accelerator: one Markdown table, at most eight minutes.

    python benchmarks/accelerator.py --table=accelerator.md
    python benchmarks/accelerator.py --tiny            # all of it on a CPU, to see that it runs

Every part is a process of its own with a time limit, so that one that fails, hangs or exhausts the
device's memory costs itself alone; what it measured until then is kept. The process that starts
them leaves the device alone. It prints as it goes, and the table is written after each part.
Nothing is downloaded: the images are synthetic (no time depends on them) unless ``--npz`` names a
data set, and PyTorch is compared with if it is there.
"""

import argparse
import contextlib
import dataclasses
import datetime
import functools
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
TOTAL_SECONDS = 480
TINY_SECONDS = 900
"""Time limit of each part under ``--tiny``, which is far above what any takes."""


class Row(NamedTuple):
    """Row of the table."""

    part: str
    what: str
    measured: str
    beside: str = ""


@dataclasses.dataclass(frozen=True)
class Task:
    """Part of the table, as its process measures it.

    Attributes:
        part: its name.
        ends: time at which it is stopped, as :func:`time.time` has it.
        rows: file to which its rows go, a line of JSON each.
        npz: data set, made for the occasion if none was given.
        is_tiny: whether all sizes are small.
    """

    part: str
    ends: float
    rows: Path
    npz: Path
    is_tiny: bool

    def add(self, what: str, measured: str, beside: str = "") -> None:
        """Print a line of the table and keep it."""
        print(f"  {what}: {measured}" + (f" ({beside})" if beside else ""), flush=True)
        with self.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(Row(self.part, what, measured, beside)) + "\n")

    @property
    def seconds_left(self) -> float:
        """Run until it is stopped."""
        return self.ends - time.time()

    @functools.cached_property
    def arrays(self) -> dict:
        """Return the images of the data set by split."""
        import numpy as np

        with np.load(self.npz) as file:
            found = {split: file[f"x_{split}"] for split in ("train", "test")}
        return {split: x if x.ndim == 4 else x[..., None] for split, x in found.items()}


# --- the parts, each in a process of its own ------------------------------------------------------


def measure_rates(task: Task) -> None:
    """Measure the peak rates of the card: one large product, one large copy."""
    import scaling

    operations, bandwidth = measured_rates(1024 if task.is_tiny else 8192)
    for dtype, rate in operations.items():
        task.add(f"product of square matrices, {dtype}", f"{rate / 1e12:.3g} TFLOP/s")
    task.add("copy, read and written", f"{bandwidth / 1e9:.4g} GB/s")
    import jax

    chip = scaling.chip_of(jax.devices()[0].device_kind)
    if chip:
        published = f"{chip.peak / 1e12:g} TFLOP/s, {chip.bandwidth / 1e9:,g} GB/s"
        task.add("published, products in 16 bits and memory", published)


def measured_rates(size: int) -> tuple[dict[str, float], float]:
    """Return operations per second of a product by its type, and bytes per second of a copy."""
    import jax
    import jax.numpy as jnp
    from measuring import seconds_of

    def best(fn: Callable, *operands: jax.Array) -> float:
        compiled = jax.jit(fn)
        jax.block_until_ready(compiled(*operands))
        return min(seconds_of(lambda: jax.block_until_ready(compiled(*operands))) for _ in range(5))

    operations = {}
    for dtype in (jnp.float32, jnp.bfloat16):
        square = jnp.ones((size, size), dtype)
        seconds = best(lambda a, b: a @ b, square, square)
        operations[jnp.dtype(dtype).name] = 2 * size**3 / seconds
    long = jnp.ones(4 * size**2)
    return operations, 2 * long.nbytes / best(lambda a: a + 1, long)


def roofline(task: Task) -> tuple[float, float, str]:
    """Return the peak operations and bytes per second for comparison, and their source."""
    import jax
    import scaling

    chip = scaling.chip_of(jax.devices()[0].device_kind)
    if chip:
        return chip.peak, chip.bandwidth, "published rates"
    operations, bandwidth = measured_rates(512 if task.is_tiny else 4096)
    return max(operations.values()), bandwidth, "rates measured here"


def measure_runs(task: Task, net: str) -> None:
    """Measure ms per update and run for more and more runs in a vmap, beside the roofline."""
    import scaling
    from measuring import peak_memory_mb

    spec, examples, steps = _setup(task, net)
    params, operations = scaling.facts(spec)
    peak, bandwidth, source = roofline(task)
    moved = 4 * scaling.NUMBERS_MOVED * params
    least = 1e3 * max(operations / peak, moved / bandwidth)
    task.add(
        f"{net}, an update of one run at least",
        f"{least:.3g} ms",
        f"{operations / 1e9:.3g} GFLOP, {moved / 1e6:.3g} MB of weights and moments; {source}",
    )
    known: dict[int, float] = {}
    for num_runs in (1, 2) if task.is_tiny else SIZES:
        known |= _measure_size(task, (net, spec, examples, steps), num_runs, least)
    if known:
        best = min(known.values())
        enough = min(size for size, ms in known.items() if ms <= 1.1 * best)
        alone = f"; {known[1] / best:.1f} times as fast as alone" if 1 in known else ""
        task.add(
            f"{net}, saturated",
            f"from {enough:,} run{'s' if enough > 1 else ''}",
            f"best {best:.4g} ms per run{alone}; memory at most {peak_memory_mb():,.0f} MB",
        )


SIZES = (1, 1024, 32, 256, 8, 512, 128, 4, 64, 16, 2)
"""Numbers of runs, so ordered that a time limit leaves the coarse picture."""


def _measure_size(task: Task, what: tuple, num_runs: int, least: float) -> dict[int, float]:
    """Time one number of runs: that number and its ms per run, or nothing where it fails."""
    from measuring import Training, seconds_of

    net, spec, examples, steps = what
    name = f"{net}, {num_runs:,} run{'s' if num_runs > 1 else ''} in one vmap"
    if task.seconds_left < 10:
        task.add(name, "not run", "no time left")
        return {}
    try:
        training = Training(spec, examples, num_runs, steps)
        training.advance(1)
        probe = max(1, steps // 50)
        pace = seconds_of(lambda: training.advance(probe)) / probe
        length = max(1, min(steps, int(task.seconds_left / 8 / pace)))
        seconds = min(seconds_of(lambda: training.advance(length)) for _ in range(2))
    except Exception as error:  # the card's memory, or its compiler: other sizes go on
        task.add(name, "failed", _first_line(error))
        return {}
    each = 1e3 * seconds / length / num_runs
    task.add(
        name,
        f"{each:.4g} ms per update and run",
        f"{each / least:.1f} x the least, {training.megabytes:,.0f} MB, compiled in "
        f"{training.compile_seconds:.1f} s, calls of {length} updates",
    )
    return {num_runs: each}


def measure_torch(task: Task) -> None:
    """Measure PyTorch, one run after the other, beside one run of ours."""
    import jax.numpy as jnp
    import train_step
    from measuring import measure

    if importlib.util.find_spec("torch") is None:
        task.add("PyTorch", "not measured", "it is not installed")
        return
    for net in ("mlp", "conv"):
        setup = train_step.SETUPS[net]()._replace(steps=2 if task.is_tiny else 100)
        images = task.arrays["train"]
        contenders = {"ours": train_step.ours(setup, jnp.asarray(images), 1)}
        for name, is_compiled in (("PyTorch", False), ("torch.compile", True)):
            try:
                advance = train_step.torch_step(net, setup, images, is_compiled)
                advance()
                contenders[name] = advance
            except Exception as error:  # no compiler for torch.compile, no driver for its CUDA
                task.add(f"{net}, {name}", "not measured", _first_line(error))
        seconds = measure(contenders, 3)
        for name, own in seconds.items():
            ratio = statistics.median(map(float.__truediv__, own, seconds["ours"]))
            each = 1e3 * statistics.median(own) / setup.steps
            task.add(f"{net}, {name}, one run", f"{each:.4g} ms per update", f"{ratio:.2f} x ours")


def measure_trip_count(task: Task) -> None:
    """Compare a loop whose length the compiler knows with ours, whose length is an array."""
    from measuring import Training, measure

    for net, num_runs in (("mlp", 1), ("mlp", 48), ("conv", 1))[: 1 if task.is_tiny else None]:
        spec, examples, steps = _setup(task, net)
        lengths = {"traced": False, "known": True}
        trainings = {
            name: Training(spec, examples, num_runs, steps, is_length_known=is_known)
            for name, is_known in lengths.items()
        }
        loops = {name: _loops_of_length(each.text, steps) for name, each in trainings.items()}
        seconds = measure({name: each.advance for name, each in trainings.items()}, 5)
        ratio = statistics.median(map(float.__truediv__, seconds["known"], seconds["traced"]))
        each = {name: 1e3 * statistics.median(own) / steps for name, own in seconds.items()}
        task.add(
            f"{net}, {num_runs} run{'s' if num_runs > 1 else ''}, length of the loop known",
            f"{ratio:.3f} x the time of today's",
            f"{each['known']:.4g} and {each['traced']:.4g} ms per update; loops that the compiled "
            f"program knows to last {steps} rounds: {loops['known']} and {loops['traced']}",
        )


def _loops_of_length(text: str, steps: int) -> int:
    """Count the loops of a compiled program that have a known number of rounds."""
    return text.count(f'"known_trip_count":{{"n":"{steps}"}}')


def measure_parallel_runs(task: Task) -> None:
    """Compare the estimated --max_parallel_runs with the best of several."""
    from measuring import Training, measure

    from vae_jax.runtime import mesh
    from vae_jax.training import memory
    from vae_jax.training.vectorized import Layout

    spec, examples, steps = _setup(task, "mlp")
    num_runs, steps = (2, steps) if task.is_tiny else (1024, 50)
    fitting = mesh.runs_that_fit(lambda: memory.bytes_per_run(spec))
    task.add("runs that fit, by estimate", f"{fitting:,}", "--max_parallel_runs=0")
    estimate = min(fitting, num_runs)
    ms: dict[int, float] = {}
    for at_once in dict.fromkeys((estimate, *((1, 2) if task.is_tiny else (64, 256, 1024, 16)))):
        name = f"{num_runs:,} runs, {at_once:,} at a time"
        if task.seconds_left < 8:
            task.add(name, "not run", "no time left")
            continue
        try:
            training = Training(spec, examples, num_runs, steps, Layout(at_once))
            (seconds,) = measure({"": training.advance}, 2).values()
        except Exception as error:  # the card's memory: other numbers go on
            task.add(name, "failed", _first_line(error))
            continue
        ms[at_once] = 1e3 * min(seconds) / steps / num_runs
        task.add(name, f"{ms[at_once]:.4g} ms per update and run", f"{training.megabytes:,.0f} MB")
        del training
    if estimate in ms:
        best = min(ms, key=lambda at_once: ms[at_once])
        words = f"{ms[estimate] / ms[best]:.2f} x the time of the best ({best:,} at a time)"
        task.add("the estimate", words)


def measure_nll(task: Task) -> None:
    """Measure the importance-weighted NLL with K = 5,000 on 10,000 images."""
    import evaluate
    from measuring import seconds_of

    num_images, particles = (50, 20) if task.is_tiny else (10_000, 5_000)
    pixels = task.arrays["test"][:num_images]
    for particles_at_once in (1, 10) if task.is_tiny else (1, 10, 50):
        spec = evaluate.EvalSpec(evaluate.MODEL, particles, particles_at_once=particles_at_once)
        name = f"K = {particles:,} on {len(pixels):,} images, {particles_at_once} at a time"
        if task.seconds_left < 5:
            task.add(name, "not run", "no time left")
            continue
        advance = evaluate.ours(spec, pixels)
        first = seconds_of(advance)
        seconds = seconds_of(advance) if task.seconds_left > 1.5 * first else first
        each = 1e9 * seconds / particles / len(pixels)
        task.add(name, f"{seconds:.2f} s", f"{each:.3g} ns per particle, first call {first:.1f} s")


def measure_float64(task: Task) -> None:
    """Compare the numbers of twenty updates in float64 on the device and on the CPU."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from vae_jax.hparams import HParams
    from vae_jax.training import vectorized
    from vae_jax.training.batches import Examples

    jax.config.update("jax_enable_x64", True)
    for net in ("mlp", "conv"):
        spec = _setup(task, net)[0]
        hparams = HParams.of(seed=[0, 1], latent_size=spec.model.max_latents)
        ends = []
        for device in (jax.devices()[0], jax.devices("cpu")[0]):
            with jax.default_device(device):
                mean = jnp.full(spec.model.image_shape, 0.1)
                state = vectorized.init(spec, hparams, mean)
                data = Examples(jnp.asarray(task.arrays["train"]))
                steps = jnp.int32(20)
                ends.append(vectorized.train_chunk(spec, hparams, state, data, steps, max_steps=20))
        (ours, terms), (theirs, their_terms) = jax.device_get(ends)
        leaves = zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True)
        apart = max(float(np.abs(a - b).max()) for a, b in leaves)
        nats = float(np.abs(terms.objective - their_terms.objective).max())
        where = "" if jax.devices()[0].platform != "cpu" else "; the device is the CPU itself"
        task.add(
            f"{net}, 20 updates in float64, device and CPU",
            f"parameters at most {apart:.1e} apart",
            f"mean objectives {nats:.1e} nats{where}",
        )


def measure_study(task: Task) -> None:
    """Measure the wall time of the study of gpu.flags, and of its 48 runs as single commands."""
    num_runs, study = 48, ["--flagfile=gpu.flags"]
    own = ["--num_steps=20000", "--chunk_steps=2000", "--eval_every=2000"]
    own.append("--checkpoint_every=10000")
    if task.is_tiny:
        own = ["--num_steps=4", "--eval_every=4", "--hidden_sizes=4", "--eval_particles=2"]
        num_runs, study = 2, ["--flagfile=mnist.flags", "--sweep=seed=0,1", *own]
    together = _command(task, *study)
    task.add(f"a study of {num_runs} runs", f"{together:,.1f} s", f"{study[0]}, start to report")
    alone = [_command(task, "--flagfile=mnist.flags", f"--seed={seed}", *own) for seed in (0, 1)]
    sequence = alone[0] + (num_runs - 1) * alone[1]
    task.add(
        f"{num_runs} commands in sequence",
        f"{sequence:,.0f} s, {sequence / together:.1f} x the study",
        f"from two of them: {alone[0]:.1f} s, and {alone[1]:.1f} s with compiled programs",
    )


def _command(task: Task, *flags: str) -> float:
    """Return the seconds of a whole command, start and report included."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [sys.executable, "run.py", *flags, f"--dataset={task.npz}"]
        done = subprocess.run(
            [*command, f"--workdir={folder}/run"], cwd=ROOT, capture_output=True, text=True
        )
    if done.returncode:
        raise RuntimeError(f"run.py {flags[0]}: {done.stderr.strip()[-300:]}")
    return time.perf_counter() - began


def _setup(task: Task, net: str) -> tuple:
    """Return the training, its images, and the largest number of updates of a call."""
    import jax.numpy as jnp
    import train_step

    from vae_jax.models.networks import MLP, Conv
    from vae_jax.training.batches import Examples

    setup = train_step.SETUPS[net]()
    spec, steps = setup.spec, setup.steps
    if task.is_tiny:
        network = MLP((16,)) if net == "mlp" else Conv((2, 2), (8,))
        model = dataclasses.replace(spec.model, network=network)
        spec, steps = dataclasses.replace(spec, model=model, batch_size=16), 4
    return spec, Examples(jnp.asarray(task.arrays["train"])), steps


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120].replace("|", "/")


class Part(NamedTuple):
    """Function of a part, and its time limit in seconds."""

    measure: Callable[[Task], None]
    seconds: int


PARTS = {
    "rates": Part(measure_rates, 15),
    "mlp": Part(functools.partial(measure_runs, net="mlp"), 75),
    "trip_count": Part(measure_trip_count, 50),
    "study": Part(measure_study, 110),
    "float64": Part(measure_float64, 50),
    "nll": Part(measure_nll, 25),
    "conv": Part(functools.partial(measure_runs, net="conv"), 60),
    "parallel_runs": Part(measure_parallel_runs, 40),
    "torch": Part(measure_torch, 55),
}
"""Parts in the order of measurement; together at most :data:`TOTAL_SECONDS`."""


# --- the process that starts them -----------------------------------------------------------------


def main() -> int:
    """Measure the parts that were asked for; the exit status is the number of those that failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, help="Markdown file to write")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of the default, with commas")
    parser.add_argument("--npz", type=Path, help="x_train and x_test, uint8, 28 x 28; or synthetic")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        task = Task(**_paths(json.loads(args.task)))
        PARTS[task.part].measure(task)
        return 0
    parts = args.parts.split(",")
    if unknown := sorted(set(parts) - PARTS.keys()):
        parser.error(f"--parts={args.parts}: no part {', '.join(unknown)}; of {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ending the part at hand as well
    with tempfile.TemporaryDirectory() as folder:
        npz = args.npz or _write_images(Path(folder) / "images.npz", args.tiny)
        return _measure_all(parts, Path(folder), npz.resolve(), args.table, args.tiny)


def _paths(fields: dict) -> dict:
    return fields | {name: Path(fields[name]) for name in ("rows", "npz")}


def _device() -> str:
    """Return device and versions, from a process of its own, which frees the device's memory."""
    code = "import measuring; print(measuring.machine())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip() or _first_line(RuntimeError(done.stderr.strip()[-300:]))


def _write_images(path: Path, is_tiny: bool) -> Path:
    """Make synthetic images, as many as MNIST has."""
    import numpy as np
    from measuring import images

    num_train, num_test = (300, 50) if is_tiny else (60_000, 10_000)
    made = images(num_train + num_test)
    np.savez(path, x_train=made[:num_train], x_test=made[num_train:])
    return path


def _measure_all(
    parts: Sequence[str], folder: Path, npz: Path, table: Path | None, is_tiny: bool
) -> int:
    """Measure the parts one after the other, and print the table after each."""
    began, rows, failed, text = time.time(), list[Row](), 0, ""
    device = _device()
    for part in parts:
        print(f"{part}, on {device}", flush=True)
        left = TOTAL_SECONDS - (time.time() - began)
        seconds = TINY_SECONDS if is_tiny else min(PARTS[part].seconds, left)
        file = folder / f"{part}.jsonl"
        problem = "no time left"
        if seconds > 0:
            task = Task(part, time.time() + seconds, file, npz, is_tiny)
            problem = _run(task, seconds)
        if file.exists():
            rows += [Row(*json.loads(line)) for line in file.read_text().splitlines()]
        if problem:
            failed += 1
            rows.append(Row(part, "the part as a whole", "not finished", problem))
        text = _markdown(device, rows, time.time() - began, is_tiny)
        if table:
            table.write_text(text, encoding="utf-8")
    print(text)
    return failed


def _run(task: Task, seconds: float) -> str:
    """Run a part in a process and return why it did not finish, or nothing."""
    fields = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(task).items()
    }
    command = [sys.executable, str(Path(__file__)), f"--task={json.dumps(fields)}"]
    defaults = {"JAX_COMPILATION_CACHE_DIR": str(task.rows.parent / "programs")}
    if task.is_tiny:
        defaults["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # where only compiling takes its time
    process = subprocess.Popen(
        command,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        env=defaults | os.environ,
    )
    with _ending(process):
        try:
            _, error = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return f"stopped after {seconds:.0f} s"
    lines = error.strip().splitlines()
    if process.returncode == 0:
        return ""
    print(error, file=sys.stderr, flush=True)
    return (lines[-1] if lines else f"exit status {process.returncode}")[:120].replace("|", "/")


@contextlib.contextmanager
def _ending(process: subprocess.Popen) -> Iterator[None]:
    """End a process and what it has started, whatever happens."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _markdown(device: str, rows: Sequence[Row], seconds: float, is_tiny: bool) -> str:
    """Return the table, with the name of the hardware."""
    today = datetime.date.today().isoformat()
    sizes = "; tiny sizes, whose times mean nothing" if is_tiny else ""
    head = f"`python benchmarks/accelerator.py` on {device}, {today}, {seconds:.0f} s{sizes}.\n\n"
    lines = ["| part | what | measured | beside it |", "|---|---|---|---|"]
    return head + "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
