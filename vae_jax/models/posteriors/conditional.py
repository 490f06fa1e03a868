"""A diagonal Gaussian over some latents given others: what joins two stochastic layers.

The network between them is a plain perceptron with tanh (Burda et al. 2016, section 5). Both of its
ends are latent axes: prefix-stable at the start, masked always.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vae_jax.models.latents import apply_mask, grow
from vae_jax.models.posteriors.gaussian import Gaussian
from vae_jax.types import LatentMask, Latents, Params, PRNGKey, Scalar, default_float


class ConditionalGaussian(NamedTuple):
    """N(z; mean(given), exp(log_var(given))).

    Attributes:
        params: from :func:`init_conditional`.
        given: which of the latents that are given count.
        latent_mask: which of those that it is about do.
    """

    params: Params
    given: LatentMask
    latent_mask: LatentMask

    def __call__(self, given: Latents) -> Gaussian:
        """The distribution at given latents, standard normal on inactive coordinates."""
        h = apply_mask(self.given, given)
        for layer in self.params["hidden"].values():
            h = jnp.tanh(_affine(layer, h))
        mean, log_var = (_affine(self.params[name], h) for name in ("mean", "log_var"))
        return Gaussian(mean, log_var).restrict(self.latent_mask)


def init_conditional(
    key: PRNGKey,
    hidden_sizes: tuple[int, ...],
    given: Bool[Array, " given"],
    latent_mask: LatentMask,
) -> Params:
    """LeCun-normal kernels, whose fan-in counts active latents only, and biases of zero."""
    keys = jax.random.split(key, len(hidden_sizes) + 2)
    fan_in, size = jnp.sum(given, dtype=default_float()), len(given)
    hidden = {}
    for index, next_size in enumerate(hidden_sizes):
        hidden[f"{index:03}"] = _layer(keys[index], (size, next_size), fan_in)
        size = next_size
        fan_in = jnp.full_like(fan_in, size)
    mean, log_var = (_layer(own, (size, len(latent_mask)), fan_in) for own in keys[-2:])
    return {"hidden": hidden, "mean": mean, "log_var": log_var}


def _layer(key: PRNGKey, shape: tuple[int, int], fan_in: Scalar) -> dict[str, Array]:
    """A key for each row makes the kernel prefix-stable along both of its axes."""
    rows = jax.vmap(lambda row: jax.random.fold_in(key, row))(jnp.arange(shape[0]))
    draw = jax.vmap(lambda row: jax.random.normal(row, shape[1:], default_float()))
    kernel = draw(rows) * jax.lax.rsqrt(fan_in)
    return {"kernel": kernel, "bias": jnp.zeros(shape[1], kernel.dtype)}


def _affine(layer: dict[str, Array], x: Float[Array, "*batch n"]) -> Float[Array, "*batch m"]:
    return x @ layer["kernel"] + grow(layer["bias"], x.ndim)
