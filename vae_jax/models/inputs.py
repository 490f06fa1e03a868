"""Checks of what a trained model is given: x, z and labels, before any of it is computed with.

An array of another shape, scale or width would often give a result all the same, and a wrong one.
Shapes and dtypes are checked always, values where they are known (not inside ``jax.jit``). This is
the one place that knows how stored values become the x of a model.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.core
import jax.dtypes
import jax.numpy as jnp
import numpy as np

from vae_jax.runtime.errors import InputError
from vae_jax.settings import LARGEST_REAL
from vae_jax.types import Labels, Latents, Observations, default_float

_ROUNDING = 1e-6  # floats may leave [0, 1] by so much


def as_x(x: Any, event_shape: Sequence[int], encoding: str = "") -> Observations:
    """Return x as a model takes it: uint8 pixels become ``x / 255``, all else stays as it is.

    Args:
        x: examples ``[*batch, *event]`` as the data of that encoding hold them, or as the model
            takes them: pixels as uint8 or floats in [0, 1], real numbers and those that were
            standardized as floats, counts as whole numbers; binary ones as truth values too.
        event_shape: shape of one example.
        encoding: encoding of the data; empty where it is not known.

    Raises:
        InputError: another shape or dtype, values outside of the encoding's, or not finite.

    Example:
        >>> as_x(np.full((2, 1, 1, 1), 255, np.uint8), (1, 1, 1)).ravel().tolist()
        [1.0, 1.0]
        >>> as_x(np.full((2, 1, 1, 1), 255.0), (1, 1, 1), "pixels")
        Traceback (most recent call last):
        vae_jax.runtime.errors.InputError: x=floats from 255 to 255: outside of [0, 1]; give uint8
        pixels, or divide by 255 once
    """
    x, wanted = _as_array("x", x), tuple(event_shape)
    if x.ndim < len(wanted) or x.shape[x.ndim - len(wanted) :] != wanted:
        raise InputError(
            setting="x",
            value=f"array of shape {x.shape}",
            problem=f"the model's x has the shape {wanted}",
            advice=f"give [*batch, {', '.join(map(str, wanted))}]",
        )
    _refuse_none("x", x)
    if x.dtype == np.uint8 and encoding in ("pixels", ""):
        return jnp.asarray(x, default_float()) / 255
    if x.dtype != np.bool_ or encoding not in ("pixels", ""):
        _check_numbers(x, encoding)
    return jnp.asarray(x, default_float())


_TAKEN = {
    "pixels": "uint8 from 0 to 255, or floats in [0, 1]",
    "reals": "floats, as the data hold them",
    "standardized": "floats, standardized as the data are",
    "counts": "whole numbers from 0 on",
    "": "uint8 pixels, or floats as the data hold them",
}


def _check_numbers(x: Any, encoding: str) -> None:
    """Refuse numbers that data of an encoding do not hold."""
    is_float, is_count = jnp.issubdtype(x.dtype, jnp.floating), encoding == "counts"
    if not is_float and not (is_count and jnp.issubdtype(x.dtype, jnp.integer)):
        raise InputError(
            setting="x",
            value=f"array of {x.dtype}",
            problem=f"the data are {encoding or 'pixels or real numbers'}",
            advice=f"give {_TAKEN[encoding]}",
        )
    if isinstance(x, jax.core.Tracer) or not x.size:
        return
    low, high = float(x.min()), float(x.max())
    problem, advice = "not finite", f"give {_TAKEN[encoding]}"
    is_valid = math.isfinite(low) and math.isfinite(high)
    if encoding == "pixels":
        problem, advice = "outside of [0, 1]", "give uint8 pixels, or divide by 255 once"
        is_valid = -_ROUNDING <= low <= high <= 1 + _ROUNDING  # NaN fails too
    elif is_count and is_valid:
        problem, is_valid = "no counts", low >= 0 and bool((x == np.round(x)).all())
    if not is_valid:
        kind = "floats" if is_float else "numbers"
        value = f"{kind} from {low:g} to {high:g}"
        raise InputError(setting="x", value=value, problem=problem, advice=advice)


def as_z(z: Any, widths: Collection[int]) -> Latents:
    """Return latents as floats.

    Args:
        z: latents ``[*batch, columns]``.
        widths: numbers of columns that the model takes, first that of the latents in use.

    Raises:
        InputError: another number of columns, not numbers, or not finite.

    Example:
        >>> as_z(np.ones((2, 3)), (3, 48)).shape
        (2, 3)
        >>> as_z(np.ones((2, 7)), (3, 48))
        Traceback (most recent call last):
        vae_jax.runtime.errors.InputError: z=array of shape (2, 7): the run uses 3 latents; give 3
        columns
    """
    z, used = _as_array("z", z), next(iter(widths))
    if not z.ndim or z.shape[-1] not in widths:
        raise InputError(
            setting="z",
            value=f"array of shape {z.shape}",
            problem=f"the run uses {used} latents",
            advice=f"give {used} columns",
        )
    _refuse_none("z", z)
    is_number = jnp.issubdtype(z.dtype, jnp.floating) or jnp.issubdtype(z.dtype, jnp.integer)
    if not is_number:
        raise InputError(
            setting="z",
            value=f"array of {z.dtype}",
            problem="latents are real numbers",
            advice="give floats",
        )
    if not isinstance(z, jax.core.Tracer):
        low, high = float(z.min()), float(z.max())
        if not (low >= -LARGEST_REAL and high <= LARGEST_REAL):  # NaN fails too
            raise InputError(
                setting="z",
                value=f"numbers from {low:g} to {high:g}",
                problem="not finite",
                advice="give finite floats",
            )
    return jnp.asarray(z, default_float())


def check_key(key: Any) -> None:
    """Refuse what is no single key of random numbers.

    Raises:
        InputError: another type, or several keys.

    Example:
        >>> check_key(jax.random.key(0))
        >>> check_key(0)
        Traceback (most recent call last):
        vae_jax.runtime.errors.InputError: key=int: is no key of random numbers; give
        jax.random.key(0), or another seed
    """
    is_array = isinstance(key, jax.Array | np.ndarray)
    is_typed = is_array and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    is_raw = is_array and key.dtype == np.uint32 and key.ndim == 1
    if not is_raw and not (is_typed and not key.shape):
        is_several = is_typed or (is_array and key.dtype == np.uint32 and key.ndim > 1)
        raise InputError(
            setting="key",
            value=f"array of shape {key.shape}" if is_array else type(key).__name__,
            problem="are several keys" if is_several else "is no key of random numbers",
            advice="give one of them" if is_several else "give jax.random.key(0), or another seed",
        )


def as_y(y: Any, num_classes: int, batch: tuple[int, ...]) -> Labels | None:
    """Return the labels of a batch; one number serves all examples.

    Args:
        y: labels, or None; they may lack leading axes of the batch (particles).
        num_classes: classes of the model; 0 where it takes no labels.
        batch: shape of the batch.

    Raises:
        InputError: labels are missing, not wanted, of another shape, or no classes of the model.

    Example:
        >>> as_y(3, 10, (2,)).tolist()
        [3, 3]
        >>> as_y(None, 10, (2,))
        Traceback (most recent call last):
        vae_jax.runtime.errors.InputError: y=None: the model is given labels; give one class from 0
        to 9 for each example
    """
    if y is None and not num_classes:
        return None
    known = f"one class from 0 to {num_classes - 1} for each example"
    if not num_classes:
        raise InputError(
            setting="y", value="labels", problem="the model takes none", advice="leave them out"
        )
    if y is None:
        raise InputError(
            setting="y", value=None, problem="the model is given labels", advice=f"give {known}"
        )
    y = _as_array("y", y)
    if not jnp.issubdtype(y.dtype, jnp.integer) or not _broadcasts(y.shape, batch):
        raise InputError(
            setting="y",
            value=f"array of {y.dtype} and shape {y.shape}",
            problem=f"the batch has the shape {batch}",
            advice=f"give {known}",
        )
    if not isinstance(y, jax.core.Tracer) and y.size and not 0 <= y.min() <= y.max() < num_classes:
        raise InputError(
            setting="y",
            value=f"{y.min()} to {y.max()}",
            problem=f"the model has {num_classes} classes",
            advice=f"give {known}",
        )
    return jnp.broadcast_to(y, batch)


def _broadcasts(shape: tuple[int, ...], batch: tuple[int, ...]) -> bool:
    """Return whether labels of a shape serve a batch; they may lack its leading axes."""
    own = shape[::-1]
    return len(own) <= len(batch) and all(n in (1, m) for n, m in zip(own, batch[::-1]))  # noqa: B905


def _as_array(name: str, values: Any) -> Any:
    """Return an array of JAX as it is, anything else as one of NumPy."""
    if isinstance(values, jax.Array):
        return values
    try:
        return np.asarray(values)
    except ValueError:
        raise InputError(
            setting=name,
            value=type(values).__name__,
            problem="has parts of different lengths",
            advice="give an array",
        ) from None


def _refuse_none(name: str, values: Any) -> None:
    """Refuse an array without any example."""
    if 0 in values.shape:
        raise InputError(
            setting=name,
            value=f"array of shape {values.shape}",
            problem="holds no example",
            advice="give at least one",
        )
