"""Diagonal Gaussian over some latents given others: the link between two stochastic layers.

The network between them is a multilayer perceptron with tanh (Burda et al. 2016, section 5). Its
input and its output are latent axes, so both are masked, and their initial weights are
prefix-stable: those of the first latents do not depend on how many follow.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vae_jax.models.latents import apply_mask, prepend_axes
from vae_jax.models.posteriors.gaussian import Gaussian
from vae_jax.types import LatentMask, Latents, Params, PRNGKey, Scalar, default_float


class ConditionalGaussian(NamedTuple):
    """Conditional distribution N(z; mean(given), exp(log_var(given))).

    Attributes:
        params: parameters from :func:`init_conditional`.
        given_mask: mask of the used latents among the given ones.
        latent_mask: mask of the used latents in z.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> given_mask, latent_mask = jnp.ones(3, bool), jnp.array([True, False])
        >>> params = init_conditional(jax.random.key(0), (4,), given_mask, latent_mask)
        >>> q = ConditionalGaussian(params, given_mask, latent_mask)(jnp.ones((5, 3)))
        >>> q.mean.shape, bool(q.mean[:, 1].any())  # masked out: N(0, 1)
        ((5, 2), False)
    """

    params: Params
    given_mask: LatentMask
    latent_mask: LatentMask

    def __call__(self, given: Latents) -> Gaussian:
        """Return the distribution at given latents, N(0, 1) on coordinates masked out."""
        h = apply_mask(self.given_mask, given)
        for layer in self.params["hidden"].values():
            h = jnp.tanh(_affine(layer, h))
        mean, log_var = (_affine(self.params[name], h) for name in ("mean", "log_var"))
        return Gaussian(mean, log_var).restrict(self.latent_mask)


def init_conditional(
    key: PRNGKey,
    hidden_sizes: tuple[int, ...],
    given_mask: Bool[Array, " given"],
    latent_mask: LatentMask,
) -> Params:
    """Return LeCun-normal kernels, whose fan-in counts used latents only, and zero biases.

    Args:
        key: random key.
        hidden_sizes: sizes of the dense tanh layers.
        given_mask: mask of the used latents among the given ones.
        latent_mask: mask of the used latents in z.
    """
    keys = jax.random.split(key, len(hidden_sizes) + 2)
    fan_in, size = jnp.sum(given_mask, dtype=default_float()), len(given_mask)
    hidden = {}
    for index, next_size in enumerate(hidden_sizes):
        hidden[f"{index:03}"] = _layer(keys[index], (size, next_size), fan_in)
        size = next_size
        fan_in = jnp.full_like(fan_in, size)
    mean, log_var = (_layer(head_key, (size, len(latent_mask)), fan_in) for head_key in keys[-2:])
    return {"hidden": hidden, "mean": mean, "log_var": log_var}


def _layer(key: PRNGKey, shape: tuple[int, int], fan_in: Scalar) -> dict[str, Array]:
    """Return one dense layer; a key per row makes the kernel prefix-stable along both axes."""
    rows = jax.vmap(lambda row: jax.random.fold_in(key, row))(jnp.arange(shape[0]))
    draw = jax.vmap(lambda row: jax.random.normal(row, shape[1:], default_float()))
    kernel = draw(rows) * jax.lax.rsqrt(fan_in)
    return {"kernel": kernel, "bias": jnp.zeros(shape[1], kernel.dtype)}


def _affine(layer: dict[str, Array], x: Float[Array, "*batch n"]) -> Float[Array, "*batch m"]:
    return x @ layer["kernel"] + prepend_axes(layer["bias"], x.ndim)
