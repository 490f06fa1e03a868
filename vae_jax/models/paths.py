"""Paths in the latent space (single coordinates, straight lines, great circles), and its plane."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int

from vae_jax.types import Latents


def along_axes(
    start: Float[Array, " latents"],
    latents: Sequence[int] | Int[np.ndarray, " rows"],
    values: Float[np.ndarray, " columns"],
) -> Float[Array, "rows columns latents"]:
    """Return copies of one code ``[rows, columns, latents]``, row i with latent i at each value.

    Example:
        >>> along_axes(jnp.zeros(3), np.array([2]), np.array([-1.0, 1.0])).tolist()
        [[[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]]
    """
    z = np.broadcast_to(start, (len(latents), len(values), len(start))).copy()
    for row, latent in enumerate(latents):
        z[row, :, latent] = values
    return jnp.asarray(z)


def along_great_circles(
    start: Float[Array, " latents"],
    latents: Sequence[int] | Int[np.ndarray, " rows"],
    values: Float[np.ndarray, " columns"],
) -> Float[Array, "rows columns latents"]:
    """Return points at each angle from one code, in row i on the circle towards axis i.

    Example:
        >>> angles = np.array([0.0, np.pi / 2])
        >>> z = along_great_circles(jnp.array([1.0, 0.0]), np.array([1]), angles)
        >>> np.abs(z).round(3).tolist()
        [[[1.0, 0.0], [0.0, 1.0]]]
    """
    code = np.asarray(start, np.float64)
    axes = np.eye(len(code))[np.asarray(latents)]
    away = axes - (axes @ code)[:, None] * code
    norms = np.linalg.norm(away, axis=-1, keepdims=True)
    directions = away / np.where(norms > 0, norms, 1.0)
    z = np.cos(values)[None, :, None] * code + np.sin(values)[None, :, None] * directions[:, None]
    return jnp.asarray(z, start.dtype)


def quantiles(side: int) -> Float[np.ndarray, " side"]:
    """Return ``side`` ascending quantiles of N(0, 1), the middles of cells of equal probability.

    Example:
        >>> quantiles(3).round(2).tolist()
        [-0.97, 0.0, 0.97]
    """
    return np.asarray(norm.ppf((np.arange(side) + 0.5) / side), np.float64)


def plane(values: Float[np.ndarray, " side"]) -> Float[Array, "side side 2"]:
    """Return the points of a plane: ``[i, j]`` is z1 = ``values[j]``, z2 = ``values[i]``.

    Example:
        >>> plane(np.array([-1.0, 1.0]))[0].tolist()
        [[-1.0, -1.0], [1.0, -1.0]]
    """
    return jnp.asarray(np.stack(np.meshgrid(values, values), axis=-1))


def straight(start: Latents, end: Latents, num_steps: int) -> Float[Array, "*batch steps latents"]:
    """Return ``num_steps`` evenly spaced points on the lines between two ends, both included.

    Example:
        >>> straight(jnp.zeros((1, 1)), jnp.full((1, 1), 2.0), 3).tolist()
        [[[0.0], [1.0], [2.0]]]
    """
    shares = jnp.linspace(0.0, 1.0, num_steps, dtype=start.dtype)[:, None]
    shares = shares.reshape((1,) * (start.ndim - 1) + shares.shape)
    return (1 - shares) * start[..., None, :] + shares * end[..., None, :]


def spherical(start: Latents, end: Latents, num_steps: int) -> Float[Array, "*batch steps latents"]:
    """Return points on the great circle between two ends, whose lengths change evenly.

    ``sin((1 - t) a) / sin(a) * start + sin(t a) / sin(a) * end`` of the directions, where a is the
    angle between them (Shoemake 1985), times the length at t. A straight line between draws from a
    normal prior of many dimensions passes where no such draw lies; this path does not. Ends of
    equal or opposite direction, or at the origin, determine no circle and are joined by a line.

    Example:
        >>> path = spherical(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 2.0]]), 3)
        >>> [f"{length:.3f}" for length in jnp.linalg.norm(path, axis=-1)[0]]
        ['1.000', '1.500', '2.000']
    """
    lengths = [jnp.linalg.norm(z, axis=-1, keepdims=True) for z in (start, end)]
    tiny = jnp.finfo(start.dtype).tiny
    first, last = (z / jnp.maximum(n, tiny) for z, n in zip((start, end), lengths, strict=True))
    angle = jnp.arccos(jnp.clip(jnp.sum(first * last, axis=-1, keepdims=True), -1.0, 1.0))
    t = jnp.linspace(0.0, 1.0, num_steps, dtype=start.dtype)[:, None]
    t = t.reshape((1,) * (start.ndim - 1) + t.shape)
    angle, first, last, length0, length1 = (
        values[..., None, :] for values in (angle, first, last, *lengths)
    )
    has_circle = (jnp.sin(angle) > 1e-4) & (length0 * length1 > 0)
    sine = jnp.where(has_circle, jnp.sin(angle), 1.0)
    direction = (jnp.sin((1 - t) * angle) * first + jnp.sin(t * angle) * last) / sine
    circle = ((1 - t) * length0 + t * length1) * direction
    return jnp.where(has_circle, circle, straight(start, end, num_steps))


TRAVERSALS: dict[str, Callable[..., Array]] = {
    "reals": along_axes,
    "sphere": along_great_circles,
}
"""Moves of a code by single latents, by the support of the posterior; the values are distances or
angles."""
MOVED = {"reals": "value of the latent", "sphere": "angle from the code towards the axis, radians"}
"""Meaning of the values of a traversal, by the support of the posterior."""
PATHS: dict[str, Callable[[Latents, Latents, int], Array]] = {
    "reals": straight,
    "sphere": spherical,
}
"""Shortest paths between two codes by the support of the posterior; of others there are none."""
