"""Splits that a source lacks, cut from its training images by a fixed permutation."""

import numpy as np

from vae_jax.data.dataset import RawSplit
from vae_jax.runtime.errors import InputError

# The day of arXiv:1312.6114v1. It must never change: it decides which images are held out.
SPLIT_KEY = 20131220


def permutation(size: int) -> np.ndarray:
    """Return the fixed permutation of `range(size)`.

    It sorts raw words of PCG64, whose stream numpy promises to keep, as it does not for
    `Generator.permutation`.

    Example:
        >>> permutation(10).tolist()
        [2, 1, 9, 5, 8, 3, 0, 7, 6, 4]
    """
    return np.argsort(np.random.PCG64(SPLIT_KEY).random_raw(size), kind="stable")


def with_all_splits(
    splits: dict[str, RawSplit], label: str, num_valid: int
) -> tuple[dict[str, RawSplit], str]:
    """Cut the missing splits from train, and describe in a sentence how all three came to be.

    Args:
        splits: `train` and perhaps `valid` and `test`.
        label: `name=value`, which begins every error.
        num_valid: images of a missing valid split; 0 for the customary share.

    Returns:
        All three splits and the sentence.

    Raises:
        InputError: too few images, or a `num_valid` where there is a valid split.
    """
    total = len(splits["train"].images)
    missing = [split for split in ("valid", "test") if split not in splits]
    sizes = _sizes_of_missing(total, missing, label, num_valid)
    rows = permutation(total) if missing else np.arange(total)
    complete, stop = dict(splits), total
    for split in reversed(missing):
        complete[split] = splits["train"].take(rows[stop - sizes[split] : stop])
        stop -= sizes[split]
    if missing:
        complete["train"] = splits["train"].take(rows[:stop])
    return complete, _sentence(complete, missing, total)


def _sizes_of_missing(total: int, missing: list[str], label: str, num_valid: int) -> dict[str, int]:
    """Return the number of training images that each missing split gets."""
    if num_valid and "valid" not in missing:
        raise InputError(
            f"num_valid={num_valid}: has no effect on {label}, which has a valid split; "
            "leave it out"
        )
    # Sixths make MNIST's customary 50,000 and 10,000; a source without any split gives tenths.
    sizes = dict.fromkeys(missing, _rounded(total, 10 if len(missing) == 2 else 6))
    if num_valid:
        sizes["valid"] = num_valid
    if sum(sizes.values()) >= total:
        advice = "give fewer" if num_valid else "give at least 3 images"
        name = f"num_valid={num_valid}" if num_valid else label
        raise InputError(f"{name}: {total} images cannot be cut into splits; {advice}")
    return sizes


def _rounded(total: int, denominator: int) -> int:
    """Return `total / denominator` rounded to the nearest whole number, at least 1."""
    return max(1, (2 * total + denominator) // (2 * denominator))


def _sentence(splits: dict[str, RawSplit], missing: list[str], total: int) -> str:
    sizes = {
        split: f"{split} {len(splits[split].images):,}" for split in ("train", "valid", "test")
    }
    given = [size for split, size in sizes.items() if split not in ("train", *missing)]
    if not missing:
        return f"{', '.join(sizes.values())} images as the source gives them"
    cut = ", ".join([sizes["train"], *(sizes[split] for split in missing)])
    origin = f"{cut} cut from the source's {total:,} by a fixed permutation (key {SPLIT_KEY})"
    return "; ".join([origin, *(f"{size} as the source gives it" for size in given)])
