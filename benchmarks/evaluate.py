"""Measure the importance-weighted NLL, ours and its products: µs per particle and example.

    python benchmarks/evaluate.py                 # 784-500-20, 1,000 examples, 100 particles each

A sample of z for one x costs the decoder's matrix products, 2 (20 x 500 + 500 x 784) flops, and
beside them 20 normals, 500 activations and the log-likelihood of 784 pixels. All contenders take
turns in one process, round after round, and a ratio is the median over rounds of the ratio within a
round. Cost per particle does not depend on K, so K = 5,000 on 10,000 images is a multiple of what
is measured; memory is that of the compiled programs, for several K. Images are synthetic.
"""

import argparse
import functools
import math
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from measuring import Advance, images, measure

from vae_jax import rng
from vae_jax.evaluation import elbo
from vae_jax.evaluation.elbo import EvalSpec
from vae_jax.hparams import HParams
from vae_jax.models.networks import MLP
from vae_jax.models.vae import VAE

HIDDEN, LATENTS = 500, 20
MODEL = VAE((28, 28, 1), LATENTS, MLP((HIDDEN,)))
HPARAMS = HParams.of(latent_size=LATENTS)
PIXELS = math.prod(MODEL.image_shape)
FULL = 10_000 * 5_000
"""Particles and examples of the target: K = 5,000 on MNIST's test images."""

_evaluate = jax.jit(elbo.evaluate, static_argnums=(0, 4))


def ours(spec: EvalSpec, pixels: np.ndarray) -> Advance:
    data = elbo.in_batches(pixels, spec.batch_size)
    params = jax.jit(MODEL.init)(HPARAMS, jnp.full(MODEL.image_shape, 0.2))
    run = functools.partial(_evaluate, spec, HPARAMS, params, data, len(pixels))
    return lambda: _finish(run())


def looped(step: Callable[..., jax.Array], carry: jax.Array, spec: EvalSpec, num: int) -> Advance:
    """Call ``step(carry, index)`` as often as ours decodes a batch of particles."""
    calls = -(-num // spec.batch_size) * -(-spec.num_particles // spec.particles_at_once)
    loop = jax.jit(
        lambda carry: jax.lax.fori_loop(0, calls, lambda index, c: step(c, index), carry)
    )
    return lambda: _finish(loop(carry))


def _finish(result: Any) -> None:
    jax.block_until_ready(result)


def products(spec: EvalSpec, num: int) -> Advance:
    """Compute the decoder's two products, each from an earlier result, or XLA would drop them."""
    rows = spec.batch_size * spec.particles_at_once
    first, second = jnp.full((LATENTS, HIDDEN), 0.01), jnp.full((HIDDEN, PIXELS), 0.01)

    def step(logits: jax.Array, _: jax.Array) -> jax.Array:
        return (logits[:, :LATENTS] @ first) @ second

    return looped(step, jnp.ones((rows, PIXELS)), spec, num)


def noise(spec: EvalSpec, num: int) -> Advance:
    examples = jnp.arange(spec.batch_size)
    key = rng.stream(0, "evaluate")

    def step(total: jax.Array, index: jax.Array) -> jax.Array:
        particles = index * spec.particles_at_once + jnp.arange(spec.particles_at_once)
        draw = functools.partial(elbo.example_noise, MODEL, key, examples)
        return total + jax.vmap(draw)(particles)

    start = jnp.zeros((spec.particles_at_once, spec.batch_size, MODEL.width))
    return looped(step, start, spec, num)


def megabytes(spec: EvalSpec, pixels: np.ndarray, num_particles: int) -> float:
    """Return the temporary memory of the compiled program."""
    spec = EvalSpec(MODEL, num_particles, spec.batch_size, spec.particles_at_once)
    data = elbo.in_batches(pixels, spec.batch_size)
    params = jax.eval_shape(MODEL.init, HPARAMS, jnp.full(MODEL.image_shape, 0.2))
    compiled = _evaluate.lower(spec, HPARAMS, params, data, len(pixels)).compile()
    analysis = compiled.memory_analysis()
    return analysis.temp_size_in_bytes / 1e6 if analysis else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--particles", type=int, default=100)
    parser.add_argument("--batch_size", type=int, default=EvalSpec.batch_size)
    parser.add_argument("--particles_at_once", type=int, default=EvalSpec.particles_at_once)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    spec = EvalSpec(MODEL, asked.particles, asked.batch_size, asked.particles_at_once)
    pixels = images(asked.examples)
    found = measure(
        {
            "ours": ours(spec, pixels),
            "decoder's products alone": products(spec, asked.examples),
            "  noise": noise(spec, asked.examples),
        },
        asked.rounds,
    )
    floor, count = found["decoder's products alone"], asked.examples * asked.particles
    print(f"{spec.batch_size} examples, {spec.particles_at_once} particles at once")
    print(f"{'':26} us/particle   / products   minutes for K = 5,000 on 10,000")
    for name, seconds in found.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, floor, strict=True))
        each = statistics.median(seconds) / count
        print(f"{name:26} {1e6 * each:11.2f} {ratio:12.2f} {each * FULL / 60:13.1f}")
    for num_particles in (50, 500, 5000):
        print(f"K = {num_particles:5,}: {megabytes(spec, pixels, num_particles):.1f} MB")


if __name__ == "__main__":
    main()
