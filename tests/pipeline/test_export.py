"""Functions of every member can be exported: they are traced with a batch of unknown size."""

import jax
import jax.export
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import vae_jax
from tests.laplace_posterior import LaplaceFamily
from tests.oracles import tiny_data
from tests.pipeline.small import SMALL, save_images
from vae_jax import cli
from vae_jax.config import build
from vae_jax.config.flags import Config
from vae_jax.config.members import KINDS
from vae_jax.models.vae import TrainedVAE
from vae_jax.pipeline import export

MEMBERS = [
    (kind, name) for kind in ("network", "likelihood", "posterior", "prior") for name in KINDS[kind]
]
TINY = {"hidden_sizes": (4,), "latent_size": 3}


def _config(kind: str, name: str) -> Config:
    member = KINDS[kind][name]
    more = {"conditional": True} if getattr(member, "needs_labels", False) else {}
    own = Config(**TINY, **more, **{kind: name})
    if kind == "posterior":
        priors = KINDS["prior"].items()
        fitting = (prior for prior, each in priors if each.support == member.support)
        return own.replace(prior=next(fitting))
    if kind == "prior":
        posteriors = KINDS["posterior"].items()
        fitting = (each for each, family in posteriors if family.support == member.support)
        return own.replace(posterior=next(fitting))
    return own


@pytest.fixture
def unchecked():
    """No type checks: they cannot compare a shape of unknown size with a property's."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(("kind", "name"), MEMBERS)
def test_a_batch_of_any_size_goes_through_every_member(kind, name, unchecked):
    config = _config(kind, name)
    model, hparams = build.train_spec(config, (8, 8, 1), 2).model, build.hparams([config])
    hparams = jax.tree.map(lambda a: a[0], hparams)
    params = jax.eval_shape(lambda: model.init(hparams, jnp.full((8, 8, 1), 0.5)))
    (n,) = jax.export.symbolic_shape("n")
    x, z, key = ((n, 8, 8, 1), "float32"), ((n, 3), "float32"), ((2,), "uint32")
    y = [((n,), "int32")] if model.num_classes else []
    for fn, shapes in (
        (export._encode, [x]),
        (export._decode, [z]),
        (export._sample, [key, z]),
    ):
        arguments = [jax.ShapeDtypeStruct(*shape) for shape in (*shapes, *y)]
        found = jax.eval_shape(
            lambda params, *given, fn=fn: fn(TrainedVAE(model, hparams, params), *given),
            params,
            *arguments,
        )
        assert {leaf.shape[0] for leaf in jax.tree.leaves(found)} == {n}


def test_codes_of_a_posterior_that_is_no_gaussian_have_its_variances_and_its_own_names(tmp_path):
    data = tiny_data()
    model = vae_jax.VAE(data.event_shape, 3, vae_jax.MLP((4,)), LaplaceFamily())
    hparams = vae_jax.HParams.of(latent_size=2)
    params = model.init(hparams, jnp.full(data.event_shape, 0.5))
    trained = TrainedVAE(model, hparams, params)
    found = np.load(export.write_codes(tmp_path / "codes.npz", trained, data, "none"))
    q = trained.encode(data.test)
    for name, own in (("codes", q.mean), ("log_var", q.log_var), ("log_scale", q.log_scale)):
        np.testing.assert_allclose(found[f"test_{name}"], own[:, :2], rtol=1e-5)
    np.testing.assert_allclose(found["test_log_var"], 2 * found["test_log_scale"] + np.log(2.0))


def test_exports_are_kept_until_what_they_depend_on_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *args: [])
    workdir, data = tmp_path / "run", save_images(tmp_path)
    argv = [*SMALL, f"--dataset={data}", f"--workdir={workdir}", "--export=weights,codes,latents"]

    def start(*more):
        assert cli.main([*argv, *more]) == 0
        return {path.name: path.stat().st_mtime_ns for path in workdir.glob("exports/0/*")}

    first = start("--num_steps=2")
    assert start("--num_steps=2") == first
    (workdir / "exports" / "0" / "codes.npz").write_bytes(b"cut")
    again = start("--num_steps=2")
    assert {name for name in first if again[name] != first[name]} == {"codes.npz"}
    later = start("--num_steps=4")
    assert all(later[name] != again[name] for name in first)
