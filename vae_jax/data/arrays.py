"""The one place where images are checked, brought to uint8 and cut into splits."""

from dataclasses import replace

import numpy as np
from jaxtyping import Int32, UInt8

from vae_jax.data.dataset import Dataset, Raw, Record, SplitArrays
from vae_jax.data.mapped import Unread, mapped
from vae_jax.runtime.errors import InputError

# The day of arXiv:1312.6114v1. It must never change: it decides which images are held out.
SPLIT_KEY = 20131220

MOST_CLASSES = 2**16
_DARK = 128  # a brightest pixel below this suggests data on another scale


def build(raw: Raw, record: Record, flag: str, num_valid: int = 0) -> Dataset:
    """Checks what a source read and cuts the splits that it lacks.

    Args:
        raw: parts whose images are `[n, height, width]` or `[n, height, width, channels]`: bool,
            integers within 0..255 (if the largest is 1, binary) or floats within [0, 1]; or not
            read yet, in which case they stay in files and no warnings are looked for.
        record: `splits` and `warnings` are filled in here.
        flag: `--name=value`, how an error names the data.
        num_valid: images to cut from train for a valid split; 0 for the customary share.

    Returns:
        A dataset of uint8 images, binary ones as 0 and 255.

    Raises:
        InputError: for anything else.
    """
    if any(isinstance(part.images, Unread) for part in raw.parts.values()):
        parts, sentence = _with_all_splits(raw.parts, flag, num_valid)
        arrays = mapped({split: part.images for split, part in parts.items()})
        parts = {
            split: SplitArrays(arrays[split], _to_labels(p, flag)) for split, p in parts.items()
        }
        warnings = ()
    else:
        parts, sentence = _with_all_splits(_checked(raw.parts, flag), flag, num_valid)
        warnings = _repeats(parts) + _strangers(parts) + _darkness(parts)
    return Dataset(
        train=parts["train"].images,
        valid=parts["valid"].images,
        test=parts["test"].images,
        train_labels=parts["train"].labels,
        valid_labels=parts["valid"].labels,
        test_labels=parts["test"].labels,
        record=replace(record, splits=sentence, warnings=warnings),
    )


def permutation(size: int) -> np.ndarray:
    """The fixed permutation of `range(size)`.

    It sorts raw words of PCG64, whose stream numpy promises to keep, as it does not for
    `Generator.permutation`.
    """
    return np.argsort(np.random.PCG64(SPLIT_KEY).random_raw(size), kind="stable")


def _checked(parts: dict[str, SplitArrays], flag: str) -> dict[str, SplitArrays]:
    images = {split: _ranked(part.images, f"{flag}: {split}") for split, part in parts.items()}
    _refuse_mixed_shapes(images, flag)
    is_binary = max(_largest_integer(array) for array in images.values()) == 1
    return {
        split: SplitArrays(
            _to_uint8(images[split], is_binary, f"{flag}: {split}"),
            _to_labels(part, f"{flag}: {split}"),
        )
        for split, part in parts.items()
    }


def _ranked(images: np.ndarray, where: str) -> np.ndarray:
    """The images with a channel axis, if they are images at all."""
    if images.ndim not in (3, 4):
        raise InputError(
            f"{where} images have shape {images.shape}; "
            "reshape them to [n, height, width] or [n, height, width, channels]"
        )
    if images.size == 0:
        raise InputError(f"{where} is empty, shape {images.shape}; give at least one image")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise InputError(
            f"{where} images have shape {images.shape}, channels first; move channels to the end"
        )
    return images if images.ndim == 4 else images[..., None]


def _refuse_mixed_shapes(images: dict[str, np.ndarray], flag: str) -> None:
    shapes = {split: array.shape[1:] for split, array in images.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{split} {shape}" for split, shape in shapes.items())
        raise InputError(f"{flag}: the splits hold different shapes ({listed}); resize to one")


def _largest_integer(images: np.ndarray) -> int:
    return int(images.max()) if images.dtype.kind in "ui" else 0


def _to_uint8(
    images: np.ndarray, is_binary: bool, where: str
) -> UInt8[np.ndarray, "n height width channels"]:
    if images.dtype.kind == "f":
        return _from_floats(images, where)
    if images.dtype.kind not in "bui":
        raise InputError(
            f"{where} images have dtype {images.dtype}; give uint8, or floats within [0, 1]"
        )
    if images.dtype.kind != "b":
        _refuse_outside(images, 255, "integers within 0..255", where)
    scale = 255 if is_binary or images.dtype.kind == "b" else 1
    return images.astype(np.uint8) * np.uint8(scale)


def _from_floats(images: np.ndarray, where: str) -> UInt8[np.ndarray, "n height width channels"]:
    if not np.isfinite(images).all():
        raise InputError(f"{where} images hold NaN or infinity; remove or repair those images")
    _refuse_outside(images, 1, "floats within [0, 1] (divide by 255?) or integers", where)
    return np.rint(images * np.float32(255)).astype(np.uint8)


def _refuse_outside(images: np.ndarray, highest: int, wanted: str, where: str) -> None:
    low, high = images.min(), images.max()
    if low < 0 or high > highest:
        raise InputError(f"{where} images hold values from {low} to {high}; give {wanted}")


def _to_labels(part: SplitArrays, where: str) -> Int32[np.ndarray, " n"] | None:
    if part.labels is None:
        return None
    count = len(part.images)
    if part.labels.shape not in ((count,), (count, 1)):
        raise InputError(
            f"{where} has {count} images but labels of shape {part.labels.shape}; "
            "give one label for each image"
        )
    labels = part.labels.reshape(count)
    is_whole = labels.dtype.kind in "bui" or (
        labels.dtype.kind == "f" and np.array_equal(np.floor(labels), labels)
    )
    if not is_whole:
        raise InputError(
            f"{where} labels of dtype {labels.dtype} are not whole numbers; number them"
        )
    low, high = labels.min(), labels.max()
    if low < 0 or high >= MOST_CLASSES:
        raise InputError(
            f"{where} labels go from {low} to {high}; number the classes from 0, at most to "
            f"{MOST_CLASSES - 1}"
        )
    return labels.astype(np.int32)


def _with_all_splits(
    parts: dict[str, SplitArrays], flag: str, num_valid: int
) -> tuple[dict[str, SplitArrays], str]:
    """Adds the splits that are missing and says in a sentence how all three came to be."""
    total = len(parts["train"].images)
    missing = [split for split in ("valid", "test") if split not in parts]
    sizes = _held_out(total, missing, flag, num_valid)
    rows = permutation(total) if missing else np.arange(total)
    complete, stop = dict(parts), total
    for split in reversed(missing):
        complete[split] = parts["train"].take(rows[stop - sizes[split] : stop])
        stop -= sizes[split]
    if missing:
        complete["train"] = parts["train"].take(rows[:stop])
    return complete, _sentence(complete, missing, total)


def _held_out(total: int, missing: list[str], flag: str, num_valid: int) -> dict[str, int]:
    """How many of the training images each missing split gets."""
    if num_valid and "valid" not in missing:
        raise InputError(
            f"--num_valid={num_valid}: has no effect on {flag}, which has a valid split; "
            "leave it out"
        )
    # Sixths make MNIST's customary 50,000 and 10,000; a source without any split gives tenths.
    sizes = dict.fromkeys(missing, _rounded(total, 10 if len(missing) == 2 else 6))
    if num_valid:
        sizes["valid"] = num_valid
    if sum(sizes.values()) >= total:
        advice = "give fewer" if num_valid else "give at least 3 images"
        name = f"--num_valid={num_valid}" if num_valid else flag
        raise InputError(f"{name}: {total} images cannot be cut into splits; {advice}")
    return sizes


def _rounded(total: int, denominator: int) -> int:
    """`total / denominator` to the nearest whole number, at least 1."""
    return max(1, (2 * total + denominator) // (2 * denominator))


def _sentence(parts: dict[str, SplitArrays], missing: list[str], total: int) -> str:
    sizes = {split: f"{split} {len(parts[split].images):,}" for split in ("train", "valid", "test")}
    given = [size for split, size in sizes.items() if split not in ("train", *missing)]
    if not missing:
        return f"{', '.join(sizes.values())} images as the source gives them"
    cut = ", ".join([sizes["train"], *(sizes[split] for split in missing)])
    origin = f"{cut} cut from the source's {total:,} by a fixed permutation (key {SPLIT_KEY})"
    return "; ".join([origin, *(f"{size} as the source gives it" for size in given)])


def _repeats(parts: dict[str, SplitArrays]) -> tuple[str, ...]:
    """A sentence when test images occur in train; compared by 64-bit hash."""
    seen = {hash(image.tobytes()) for image in parts["train"].images}
    test = parts["test"].images
    count = sum(hash(image.tobytes()) in seen for image in test)
    return (f"{count:,} of {len(test):,} test images occur in train too",) if count else ()


def _strangers(parts: dict[str, SplitArrays]) -> tuple[str, ...]:
    """A sentence for each split with labels that no training image has."""
    known = parts["train"].labels
    if known is None:
        return ()
    unknown = {
        split: int((~np.isin(part.labels, known)).sum())
        for split, part in parts.items()
        if part.labels is not None
    }
    return tuple(
        f"{count:,} of {len(parts[split].images):,} {split} images have labels that no training "
        "image has"
        for split, count in unknown.items()
        if count
    )


def _darkness(parts: dict[str, SplitArrays]) -> tuple[str, ...]:
    brightest = int(parts["train"].images.max())
    if brightest >= _DARK:
        return ()
    return (f"the brightest training pixel is {brightest} of 255; is the scale right?",)
