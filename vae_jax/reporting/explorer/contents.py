"""Contents of a page, as JSON: test examples, runs with their weights, rows of a study.

A run has a decoder, codes of the test examples, its prior and its likelihood. A study has as many
runs as there is room for, the best first; of the others the page shows the numbers.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vae_jax.evaluation import columns
from vae_jax.evaluation.evaluators import EvalContext
from vae_jax.evaluation.evaluators.base import NotFiniteError
from vae_jax.models.vae import TrainedVAE
from vae_jax.reporting import format, table
from vae_jax.reporting.explorer import distributions, layers, packing
from vae_jax.reporting.explorer.layers import UnsupportedError
from vae_jax.reporting.explorer.packing import BYTES, Storage
from vae_jax.training import batches
from vae_jax.types import Row, event_axes

ContextOf: TypeAlias = Callable[[int], EvalContext]
"""Function that gives a run, by its number, with its data."""

MOST_CHARACTERS = 12_000_000
"""Room for the weights and codes of all runs, in characters of a page."""
MOST_IMAGE_BYTES = 400_000
"""Room for the test examples, in bytes."""
MOST_EXAMPLES = 500
"""Number of test examples, fewer where they are large."""
CHECKED = 100
"""Number of test codes on which the page's decoder is compared with the model's."""


class Examples(NamedTuple):
    """Test examples of a page, as the model sees them, with the range in which they are drawn.

    Attributes:
        x: examples ``[n, *event]``.
        labels: one each, where the data have them.
        low: value that is drawn black, or at the foot of the bars.
        high: value that is drawn white, or at the top.
    """

    x: Float[np.ndarray, "n *event"]
    labels: np.ndarray | None
    low: float
    high: float

    @classmethod
    def of(cls, context: EvalContext) -> "Examples":
        """Return the first test examples, as many as a page has room for."""
        data = context.data
        size = max(1, MOST_IMAGE_BYTES // math.prod(data.event_shape))
        subset = context.subset("test", min(MOST_EXAMPLES, size))
        x = np.asarray(batches.as_observations(jnp.asarray(subset.pixels)), np.float32)
        low, high = (0.0, 1.0) if data.encoding == "pixels" else (float(x.min()), float(x.max()))
        return cls(x, subset.labels, low, high if high > low else low + 1.0)

    def packed(self) -> packing.Packed:
        """Return the examples in 256 steps from low to high, which is how a page draws them."""
        steps = np.round(255 * (self.x - self.low) / (self.high - self.low))
        return packing.pack(steps.astype(np.uint8).reshape(len(self.x), -1), "uint8")


def contents(results: Mapping[str, Any], context_of: ContextOf) -> dict[str, Any]:
    """Return what the page holds.

    Args:
        results: what ``results.json`` holds; only ``runs`` is required.
        context_of: gives a run with its data.
    """
    rows = results["runs"]
    swept = sorted(results.get("swept", ()), key=lambda name: name == "seed")  # the seed last
    ranked = _ranked(rows, swept)
    runs, examples, left_out = _runs(rows, ranked, context_of)
    shown_columns = _columns(results, rows, swept) if swept else []
    some = context_of(ranked[0])
    shown = examples or {some.binarize: Examples.of(some)}
    first = next(iter(shown.values()))
    return {
        "title": str(results.get("title", "vae_jax")),
        "data": str(results.get("dataset", {}).get("used", some.data.record.used)),
        "shape": list(some.data.event_shape),
        "low": first.low,
        "high": first.high,
        "labels": None if first.labels is None else first.labels.tolist(),
        "classes": _classes(some),
        "examples": {mode: each.packed() for mode, each in shown.items()},
        "runs": runs,
        "order": [run for run in ranked if str(run) in runs],
        "ranked": ranked if swept else [],
        "left_out": left_out,
        "swept": swept,
        "rows": [_of_row(row, swept, shown_columns) for row in rows] if swept else [],
        "columns": shown_columns,
        "axes": {name: list(map(format.setting, table.values(rows, name))) for name in swept},
    }


def _ranked(rows: Sequence[Row], swept: Sequence[str]) -> list[int]:
    """Return the runs in the order in which they are given room.

    First the best run of each setting, the best setting first, then the second of each, and so on:
    runs that differ in the seed alone show the same thing. All runs where all diverged.
    """
    places: dict[int, tuple[int, int]] = {}
    seen: Counter[tuple[str, ...]] = Counter()
    for rank, row in enumerate(table.ranking(rows)):
        setting = tuple(format.setting(row.get(name)) for name in table.axes(swept))
        places[row["run"]] = seen[setting], rank
        seen[setting] += 1
    return sorted(places, key=places.__getitem__) or [row["run"] for row in rows]


def _classes(context: EvalContext) -> list[dict[str, Any]]:
    """Return the classes of the data with their names."""
    names = context.data.class_names
    return [
        {"label": label, "name": names[label] if label < len(names) else str(label)}
        for label in context.data.classes
    ]


def _runs(
    rows: Sequence[Row], ranked: Sequence[int], context_of: ContextOf
) -> tuple[dict[str, Any], dict[str, Examples], list[str]]:
    """Return the runs that the page can compute and has room for, and why others are left out.

    Also the examples as these runs see them, by the binarization of their pixels.
    """
    sizes, reasons = _sizes(ranked, context_of)
    storage = _storage(sizes)
    found, examples, room = {}, {}, MOST_CHARACTERS
    of_run = {row["run"]: row for row in rows}
    for run, size in sizes.items():
        needed = _characters(size, storage)
        if needed > room:
            continue
        context = context_of(run)
        mode = context.binarize
        if mode not in examples:
            examples[mode] = Examples.of(context)
        try:
            found[str(run)] = _run(context, of_run[run], examples[mode], storage)
            room -= needed
        except UnsupportedError as error:
            reasons[run] = str(error)
    return found, examples, _left_out(len(rows), found, sizes, reasons, storage)


def _sizes(ranked: Sequence[int], context_of: ContextOf) -> tuple[dict[int, int], dict[int, str]]:
    """Return the number of weights of each run that can be computed, and why others cannot."""
    sizes, reasons = {}, {}
    for run in ranked:
        trained = context_of(run).trained
        try:
            distributions.likelihood(trained)
            sizes[run] = layers.num_weights(layers.of_run(trained))
        except UnsupportedError as error:
            reasons[run] = str(error)
    return sizes, reasons


def _storage(sizes: Mapping[int, int]) -> Storage:
    """Return float16 where all runs fit in it, else the smaller storage for all."""
    needed = sum(_characters(size, "float16") for size in sizes.values())
    return "float16" if needed <= MOST_CHARACTERS else "int8"


def _characters(size: int, storage: Storage) -> int:
    """Return the characters of so many weights in base64."""
    return 4 * size * BYTES[storage] // 3


def _left_out(
    num_runs: int,
    found: Mapping[str, Any],
    sizes: Mapping[int, int],
    reasons: Mapping[int, str],
    storage: Storage,
) -> list[str]:
    """Return sentences on the runs whose decoders are not in the page."""
    sentences = []
    for reason, runs in itertools.groupby(
        sorted(reasons, key=lambda r: (reasons[r], r)), reasons.get
    ):
        numbers = ", ".join(map(str, runs))
        which = f"Run {numbers} cannot be computed here" if num_runs > 1 else "It cannot run here"
        sentences.append(f"{which}: {reason}.")
    without = [run for run in sizes if str(run) not in found and run not in reasons]
    if without:
        largest = max(_characters(sizes[run], storage) for run in without) / 1e6
        limit = f"a page has room for {MOST_CHARACTERS / 1e6:.0f} MB of weights"
        if num_runs == 1:
            sentences.append(f"Its decoder would take {largest:.0f} MB, and {limit}.")
        else:
            sentences.append(
                f"{len(found)} of {num_runs} runs are here with their decoders, the best of each "
                f"setting first; {limit}. The others are in the table with their numbers."
            )
    num_diverged = num_runs - len({*sizes, *reasons})
    if num_diverged:
        sentences.append(f"{num_diverged} runs diverged.")
    return sentences


def _run(context: EvalContext, row: Row, examples: Examples, storage: Storage) -> dict[str, Any]:
    """Return a run as a page computes it.

    Raises:
        UnsupportedError: its codes or weights are not finite.
    """
    trained, used = context.trained, int(context.trained.hparams.latent_size)
    codes = _codes(context, len(examples.x))[:, :used]
    packed = packing.pack_layers(layers.of_run(trained), storage)
    bias = packing.pack(np.asarray(trained.params["output_bias"]))
    error = _largest_error(trained, packed, bias, codes[:CHECKED], examples.labels)
    kl = _per_latent(row.get("kl_per_latent"), used)
    spread = kl if kl is not None else codes.var(axis=0).tolist()
    return {
        "run": row["run"],
        "step": row.get("step"),
        "latents": used,
        "network": type(trained.model.network).__name__,
        "kl": kl,
        "order": sorted(range(used), key=lambda latent: -spread[latent]),
        "codes": packing.pack(codes),
        "examples": context.binarize,
        "layers": packed,
        "bias": bias,
        "likelihood": distributions.likelihood(trained),
        "prior": distributions.prior(trained),
        "support": trained.model.posterior.support,
        "levels": getattr(trained.model.posterior, "num_levels", None),
        "has_density": trained.model.posterior.has_density,
        "num_classes": trained.model.num_classes,
        "storage": packing.WORDS[storage],
        "error": error,
        "checked": len(codes[:CHECKED]),
    }


def _codes(context: EvalContext, num: int) -> Float[np.ndarray, "n latents"]:
    """Return the centers of q(z|x) of the first test examples."""
    try:
        codes = context.codes(context.subset("test", num))
    except NotFiniteError as error:
        raise UnsupportedError(str(error)) from None
    return np.asarray(codes, np.float32)


def _per_latent(values: Any, used: int) -> list[float] | None:
    """Return the KL of each latent, None where it is not known."""
    own = [] if values is None else list(values)[:used]
    is_known = len(own) == used and all(map(table.is_number, own))
    return [round(float(value), 4) for value in own] if is_known else None


def _largest_error(
    trained: TrainedVAE,
    packed: Sequence[layers.Layer],
    bias: packing.Packed,
    codes: Float[np.ndarray, "n latents"],
    labels: np.ndarray | None,
) -> float:
    """Return the largest difference of E[x|z] between the page's decoder and the model's.

    Raises:
        UnsupportedError: the page's are not finite.
    """
    model, hparams, params = trained
    y = labels[: len(codes)] if model.num_classes and labels is not None else None
    flat = layers.outputs(packing.unpack_layers(packed), codes, y).reshape(len(codes), -1)
    outputs = flat + packing.unpack(bias).reshape(1, -1)
    shaped = jnp.asarray(outputs.reshape(len(codes), *params["output_bias"].shape))
    axes = () if len(model.event_shape) == 3 else (event_axes(len(model.event_shape)),)
    own = model.likelihood(hparams, params.get("likelihood", {}), shaped, *axes).mean()
    difference = np.abs(np.asarray(own) - np.asarray(trained.generate(codes, y)))
    if not (np.isfinite(outputs).all() and np.isfinite(difference).all()):
        raise UnsupportedError("its weights are not finite as numbers of 16 bits")
    return float(difference.max())


def _columns(
    results: Mapping[str, Any], rows: Sequence[Row], swept: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the columns of numbers that the table of a study may show, the criterion first."""
    known = columns.read(dict(results.get("columns", {}))) or columns.CORE
    first = table.criterion(rows)
    names = sorted(known, key=lambda name: name != first)
    return [
        {"name": name, "title": known[name].title, "unit": known[name].unit}
        for name in names
        if name not in swept and not name.endswith("_se") and _differs(rows, name)
    ]


def _differs(rows: Sequence[Row], name: str) -> bool:
    """Return whether a column holds numbers that differ between the runs."""
    numbers = {row[name] for row in rows if table.is_number(row.get(name))}
    return name != "run" and len(numbers) > 1


def _of_row(row: Row, swept: Sequence[str], shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the table of a study needs of a row: settings as text, and the numbers."""
    own = {column["name"]: row.get(column["name"]) for column in shown}
    numbers = {name: value for name, value in own.items() if table.is_number(value)}
    return {
        "run": row["run"],
        "settings": {name: format.setting(row.get(name)) for name in swept},
        "numbers": {name: float(f"{value:.6g}") for name, value in numbers.items()},
    }
