"""The pictures of a trained run: what the model is asked, and which plot shows it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Float

from vae_jax import keys, plots
from vae_jax.evaluate import ACTIVE_THRESHOLD
from vae_jax.hparams import HParams
from vae_jax.model import VAE
from vae_jax.report import Figure
from vae_jax.types import Latents, Params

NUM_SAMPLES = 100
NUM_PAIRS = 6
PATH_STEPS = 9
MANIFOLD_SIDE = 20
TRAVERSED_LATENTS = 8
TRAVERSAL = np.linspace(-2.5, 2.5, 11)


def draw(
    folder: Path,
    model: VAE,
    hparams: HParams,
    params: Params,
    test: np.ndarray,
    metrics: Sequence[dict[str, Any]],
    row: dict[str, Any],
) -> list[Figure]:
    """Write all figures of one run and name them for the report.

    Args:
        folder: where the PNG files go.
        model: static spec.
        hparams: of the run.
        params: of the run.
        test: images in [0, 1], at least one.
        metrics: rows of ``metrics.jsonl``.
        row: the run's row of test results, with ``kl_per_latent``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kl = np.asarray(row["kl_per_latent"])
    active = np.asarray(row["variance_per_latent"]) > ACTIVE_THRESHOLD
    drawn = [
        _curves(folder, metrics, row["run"]),
        _reconstructions(folder, model, hparams, params, test[:20]),
        _samples(folder, model, hparams, params),
        _space(folder, model, hparams, params, test, kl),
        _interpolations(folder, model, hparams, params, test),
    ]
    path = folder / "kl_per_latent.png"
    plots.kl_per_latent(path, kl, active)
    caption = "A latent at zero is a copy of the prior: it tells the decoder nothing about x."
    return [*drawn, Figure(path, "KL of each latent", caption)]


def _curves(folder: Path, metrics: Sequence[dict[str, Any]], run: int) -> Figure:
    path = folder / "training_curves.png"
    plots.training_curves(path, metrics, run)
    caption = "Means over the updates between two visits (train) and over all of valid."
    return Figure(path, "Training", caption)


def _reconstructions(
    folder: Path, model: VAE, hparams: HParams, params: Params, images: np.ndarray
) -> Figure:
    path = folder / "reconstructions.png"
    reconstructed = model.reconstruct(hparams, params, jnp.asarray(images))
    plots.reconstructions(path, images, np.asarray(reconstructed))
    return Figure(path, "Reconstructions", "E[x'|z] at the mean of q(z|x), for test images x.")


def _samples(folder: Path, model: VAE, hparams: HParams, params: Params) -> Figure:
    path = folder / "samples.png"
    noise = model.noise(keys.stream(hparams.seed, "generate"), NUM_SAMPLES)
    images = model.generate(hparams, params, model.prior.sample(noise))
    plots.samples(path, np.asarray(images))
    return Figure(path, "Samples", "E[x|z] for z drawn from the prior.")


def _space(
    folder: Path, model: VAE, hparams: HParams, params: Params, test: np.ndarray, kl: np.ndarray
) -> Figure:
    """The whole space if it has two dimensions, a walk along its axes otherwise."""
    if int(hparams.latent_size) == 2:
        return _manifold(folder, model, hparams, params)
    path = folder / "traversals.png"
    latents = np.argsort(-kl, kind="stable")[:TRAVERSED_LATENTS]
    start = model.encode(hparams, params, jnp.asarray(test[:1])).mean[0]
    z = along_axes(start, latents, TRAVERSAL)
    plots.traversals(path, _decoded(model, hparams, params, z), latents, TRAVERSAL, kl)
    caption = "The most informative latents, moved one at a time from the code of a test image."
    return Figure(path, "Traversals", caption)


def along_axes(start: Latents, latents: np.ndarray, values: np.ndarray) -> Latents:
    """Copies of one code ``[rows, columns, latents]``, row i with latent i at each value."""
    z = np.broadcast_to(start, (len(latents), len(values), len(start))).copy()
    for row, latent in enumerate(latents):
        z[row, :, latent] = values
    return jnp.asarray(z)


def _manifold(folder: Path, model: VAE, hparams: HParams, params: Params) -> Figure:
    path = folder / "manifold.png"
    shares = (np.arange(MANIFOLD_SIDE) + 0.5) / MANIFOLD_SIDE
    values = np.asarray(norm.ppf(shares), np.float64)
    z = np.stack(np.meshgrid(values, values), axis=-1)
    plots.manifold(path, _decoded(model, hparams, params, jnp.asarray(z)), values)
    caption = "Decoder means on a grid with equal prior mass in every cell."
    return Figure(path, "The latent space", caption)


def _interpolations(
    folder: Path, model: VAE, hparams: HParams, params: Params, test: np.ndarray
) -> Figure:
    path = folder / "interpolations.png"
    pairs = np.resize(np.arange(len(test)), 2 * NUM_PAIRS).reshape(NUM_PAIRS, 2)
    ends = test[pairs]
    codes = model.encode(hparams, params, jnp.asarray(ends)).mean
    images = _decoded(model, hparams, params, straight_paths(codes, PATH_STEPS))
    plots.interpolations(path, images, ends)
    return Figure(path, "Interpolations", "E[x|z] on the line between two posterior means.")


def straight_paths(ends: Latents, num_steps: int) -> Latents:
    """Points ``[pairs, steps, latents]`` on the lines between the ends ``[pairs, 2, latents]``."""
    shares = jnp.linspace(0.0, 1.0, num_steps, dtype=ends.dtype)[None, :, None]
    return (1 - shares) * ends[:, :1] + shares * ends[:, 1:]


def _decoded(
    model: VAE, hparams: HParams, params: Params, z: Latents
) -> Float[np.ndarray, "*batch height width channels"]:
    return np.asarray(model.generate(hparams, params, z))
