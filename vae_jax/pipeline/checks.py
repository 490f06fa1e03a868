"""Checks of the data against the flags, made once the data are loaded and before any training."""

import itertools
from collections.abc import Iterator

import numpy as np

from vae_jax.config import build
from vae_jax.config.flags import Config
from vae_jax.config.members import find
from vae_jax.config.validation import without_effect
from vae_jax.data import Dataset
from vae_jax.reporting.diagnostics import LARGEST_MISFIT
from vae_jax.runtime import libraries
from vae_jax.runtime.errors import InputError
from vae_jax.training import compatibility, dry_run


def check_data(config: Config, configs: list[Config], dataset: Dataset) -> None:
    """Refuse data that do not allow what the flags ask for.

    Args:
        config: flags of the study.
        configs: flags of each run.
        dataset: data that were loaded.

    Raises:
        InputError: naming the flag, its value and the remedy.
    """
    programs: dict[tuple[object, ...], Config] = {}
    for own in configs:  # what data allow depends on no hyperparameter that is an array
        arrays, values = own.arrays, vars(own)
        static = tuple(values[name] for name in own.flags if name not in arrays)
        programs.setdefault(static, own)
    for own in programs.values():
        spec = build.train_spec(own, dataset.event_shape, dataset.num_classes)
        for problem in itertools.chain(
            compatibility.data_problems(spec, dataset, _flag, vars(own)),
            compatibility.training_problems(spec, dataset, _flag, vars(own)),
        ):
            raise InputError(problem)
        dry_run.check_members(spec, dataset.encoding, len(dataset.train))
    for problem in _evaluation_problems(config, dataset):
        raise InputError(problem)


def _flag(name: str, value: object) -> str:
    """Return how the command line writes a setting; the labels are those of ``--conditional``."""
    return "--conditional" if name == "num_classes" else f"--{name}={value}"


def scale_note(config: Config, dataset: Dataset) -> str:
    """Return a warning of a fixed scale that is wider than the data vary; "" where it is not.

    A density that wide leaves little to gain over the mean image, which is what is then learned.
    """
    is_swept = any(text.startswith(("scale=", "scale_mode=")) for text in config.sweep)
    is_fixed = "scale_mode" not in without_effect(config) and config.scale_mode == "fixed"
    if not is_fixed or is_swept:
        return ""
    is_pixels = dataset.encoding == "pixels"
    some = dataset.train[:1000].astype(np.float64) / (255.0 if is_pixels else 1.0)
    deviation = float(np.sqrt(np.mean((some - some.mean(axis=0)) ** 2)))
    if not deviation or config.scale <= LARGEST_MISFIT * deviation:
        return ""
    what, mean = ("pixels", "mean image") if is_pixels else ("numbers", "mean")
    has_optimum = config.flags["scale_mode"].type.is_valid("optimal")
    modes = "optimal or learned" if has_optimum else "learned"
    alone = " (without --scale)" if has_optimum and config.scale != 1 else ""
    unit = "" if is_pixels else ", --encoding=standardized"
    return (
        f"--scale={config.scale:g} is fixed, and {what} deviate by {deviation:.2g} from their "
        f"mean: so wide a density gives little more than the {mean}; give "
        f"--scale_mode={modes}{alone}{unit}, or a --scale of about the noise of {what}"
    )


def _evaluation_problems(config: Config, dataset: Dataset) -> Iterator[str]:
    """Yield the reasons why data or installed libraries allow no evaluation, or no export."""
    lacks = {
        what: [split for split in ("train", "test") if getattr(dataset, f"{split}_{what}") is None]
        for what in ("labels", "factors")
    }
    has = {"labels": "labels", "factors": "factors of variation; --dataset=sprites has"}
    if "stablehlo" in config.export and (
        problem := libraries.refusal("flatbuffers", "--export=stablehlo")
    ):
        yield f"{problem}, or leave stablehlo out"
    for name in build.evaluations(config):
        yield from _too_few(name, config, dataset)
        problem = libraries.refusal("sklearn", f"--evaluate={name}")
        if problem and "sklearn" in find("evaluate", name).needs:
            yield f"{problem}, or leave {name} out"
        for need in sorted(find("evaluate", name).needs):
            if splits := lacks.get(need):
                where = "" if len(splits) > 1 else f" of {splits[0]}"
                what = need + where if where else has[need]
                dataset_flag = f"--dataset={config.dataset}"
                yield f"--evaluate={name}: {dataset_flag} has no {what}; leave {name} out"


def _too_few(name: str, config: Config, dataset: Dataset) -> Iterator[str]:
    """Yield the reason why an evaluation has too few examples or classes, if there is one."""
    evaluator, labels = find("evaluate", name), dataset.train_labels
    if min(len(dataset.train), len(dataset.test)) < evaluator.fewest_examples:
        yield (
            f"--evaluate={name}: needs {evaluator.fewest_examples} examples of a split, and "
            f"--dataset={config.dataset} has {len(dataset.train)} for training and "
            f"{len(dataset.test)} for testing; give more, or leave {name} out"
        )
    num_classes = evaluator.fewest_classes if labels is None else len(np.unique(labels))
    if num_classes < evaluator.fewest_classes:
        yield (
            f"--evaluate={name}: needs {evaluator.fewest_classes} classes, and the examples of "
            f"--dataset={config.dataset} have {num_classes}; leave {name} out"
        )
