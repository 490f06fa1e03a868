"""Runs of tiny models with random weights, and the page of their study."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import MLP, VAE, Conv, HParams, ResNet, TrainedVAE
from vae_jax.data.dataset import Dataset, Provenance
from vae_jax.evaluation.evaluators import EvalContext
from vae_jax.reporting import explorer

SHAPE = (7, 10, 1)
NETWORKS = {
    "mlp": MLP((12, 9), activation="silu"),
    "conv": Conv((3, 5), (8,)),
    "resnet": ResNet((4, 3), 1, (8,), activation="gelu"),
}
HOSTILE = "</script><img src=x onerror=alert(1)>"


def data(shape=SHAPE, encoding="", num=30) -> Dataset:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (num, *shape))
    x = pixels.astype(np.float32) / 40 if encoding == "reals" else pixels.astype(np.uint8)
    labels = np.arange(num, dtype=np.int32) % 3
    record = Provenance(HOSTILE, HOSTILE, "random", "none")
    names = ("zero", HOSTILE, "a&b")
    return Dataset(*(x, x, x, labels, labels, labels, record), class_names=names, encoding=encoding)


def trained(network=None, seed=0, latents=3, shape=SHAPE, **families) -> TrainedVAE:
    """Return a run whose weights, also those that start at zero, are random.

    Only their shapes are asked of the model: its own initial weights take seconds to compile.
    """
    model = VAE(shape, latents, network or NETWORKS["mlp"], **families)
    hparams = HParams.of(latent_size=latents, seed=seed, scale=0.3)
    some = jnp.asarray(data(shape).train[:10], float)
    like = jax.eval_shape(model.init, hparams, some[0], some)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda a: jnp.asarray(rng.normal(0.0, 0.4, a.shape), a.dtype), like)
    return TrainedVAE(model, hparams, params)


def row(run: int, latents: int = 3, **settings) -> dict:
    terms = {"test_elbo": -90.0 - run, "test_kl": 3.0 + run, "diverged": ""}
    kl = {"kl_per_latent": [0.5 + i for i in range(latents)]}
    return {"run": run, "step": 7, **settings, **terms, **kl}


def study(runs: dict[str, TrainedVAE], seeds: int = 1) -> tuple[dict, list[TrainedVAE]]:
    """Return the results of a study over networks (and seeds), and its runs."""
    models = [model for model in runs.values() for _ in range(seeds)]
    settings = [{"network": name, "seed": seed} for name in runs for seed in range(seeds)]
    rows = [
        row(i, int(m.hparams.latent_size), **s)
        for i, (m, s) in enumerate(zip(models, settings, strict=True))
    ]
    return {"title": f"a {HOSTILE}", "runs": rows, "swept": ["network", "seed"]}, models


def write(path: Path, results: dict, models: list[TrainedVAE], of: Dataset | None = None) -> Path:
    own = of or data(models[0].model.event_shape)
    explorer.write(path, results, lambda run: EvalContext(models[run], own, "none"))
    return path


def write_run(path: Path, model: TrainedVAE, of: Dataset | None = None) -> Path:
    """Write the page of one run."""
    results = {"title": "one", "runs": [row(0, int(model.hparams.latent_size))]}
    return write(path, results, [model], of)
