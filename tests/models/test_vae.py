"""Latent size as an array: a wide model with few used latents equals the narrow model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import tiny_vae
from vae_jax.hparams import HParams
from vae_jax.models import latents
from vae_jax.models.networks import MLP, Conv
from vae_jax.models.vae import VAE, TrainedVAE

NETWORKS = {
    "mlp": MLP((8,), "tanh"),
    "deep": MLP((8, 6)),
    "linear": MLP(()),
    "conv": Conv((3, 4), (5,)),
}
MEAN = jnp.full((5, 4, 2), 0.3)
METHODS = VAE.init, VAE.encode, VAE.decode, VAE.reconstruct, VAE.generate
init, encode, decode, reconstruct, generate = (jax.jit(f, static_argnums=0) for f in METHODS)


def _vae(name: str, max_latents: int) -> VAE:
    return VAE((5, 4, 2), max_latents, NETWORKS[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_latents_start_as_in_the_narrow_model(name):
    hparams = HParams.of(latent_size=3, seed=5)
    models = _vae(name, 3), _vae(name, 60)
    (narrow, wide), width = (init(model, hparams, MEAN) for model in models), models[0].width
    assert models[1].width > width
    for head in ("mean", "log_var"):
        kernels = [params["encoder"][head]["kernel"] for params in (narrow, wide)]
        np.testing.assert_array_equal(kernels[0], kernels[1][:, :width])
    kernels = [params["decoder"]["latent"]["kernel"] for params in (narrow, wide)]
    np.testing.assert_array_equal(kernels[0], kernels[1][:width])
    bodies = [
        jax.tree.leaves((params["encoder"].get("body"), params["decoder"].get("body")))
        for params in (narrow, wide)
    ]
    for left, right in zip(*bodies, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("name", NETWORKS)
def test_latents_that_are_masked_out_change_nothing(name):
    hparams = HParams.of(latent_size=3, seed=5)
    x = jax.random.uniform(jax.random.key(0), (2, 5, 4, 2))
    narrow, wide = _vae(name, 3), _vae(name, 60)
    small, large = init(narrow, hparams, MEAN), init(wide, hparams, MEAN)
    q, padded = encode(narrow, hparams, small, x), encode(wide, hparams, large, x)
    np.testing.assert_allclose(padded.mean[:, :3], q.mean[:, :3], rtol=1e-6)
    assert not padded.mean[:, 3:].any()
    assert not padded.log_var[:, 3:].any()
    noise = wide.noise(jax.random.key(1), 2)
    np.testing.assert_allclose(
        decode(wide, hparams, large, noise).logits,
        decode(narrow, hparams, small, noise[:, :3]).logits,
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_decoders_first_layer_scales_with_the_used_latents():
    params = [init(_vae("mlp", 500), HParams.of(latent_size=size), MEAN) for size in (5, 500)]
    deviations = [each["decoder"]["latent"]["kernel"].std() for each in params]
    assert deviations[0] / deviations[1] == pytest.approx(10, rel=1e-5)
    assert deviations[1] == pytest.approx(500**-0.5, rel=0.05)


def test_an_untrained_decoder_knows_the_mean_image():
    vae, hparams = tiny_vae(), HParams.of(latent_size=4)
    data_mean = jnp.linspace(0.05, 0.95, 12).reshape(3, 4, 1)
    params = init(vae, hparams, data_mean)
    silent = params | {"decoder": jax.tree.map(jnp.zeros_like, params["decoder"])}
    image = generate(vae, hparams, silent, jnp.zeros((1, 4)))[0]
    np.testing.assert_allclose(image, data_mean, rtol=1e-5)
    plain = init(VAE((3, 4, 1), 4, starts_at_mean=False), hparams, data_mean)
    assert not plain["output_bias"].any()


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 3), (28, 28, 1)])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_image_shape_goes_in_and_out(name, shape):
    vae, hparams = VAE(shape, 2, NETWORKS[name]), HParams.of(latent_size=2)
    params = init(vae, hparams, jnp.full(shape, 0.5))
    assert reconstruct(vae, hparams, params, jnp.ones((4, *shape))).shape == (4, *shape)
    paths = generate(vae, hparams, params, jnp.ones((3, 5, 2)))
    assert paths.shape == (3, 5, *shape)


def test_specs_hash_by_value():
    assert hash(_vae("conv", 3)) == hash(_vae("conv", 3))
    assert _vae("conv", 3) == _vae("conv", 3)
    assert _vae("conv", 3) != _vae("conv", 4)


def test_bfloat16_stays_inside_the_networks():
    vae = VAE((5, 4, 2), 3, MLP((8,), dtype="bfloat16"))
    hparams = HParams.of(latent_size=3)
    params = init(vae, hparams, MEAN)
    x = jnp.full((2, 5, 4, 2), 0.7)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    q, exact = encode(vae, hparams, params, x), encode(_vae("mlp", 3), hparams, params, x)
    assert q.mean.dtype == jnp.float32
    assert decode(vae, hparams, params, q.mean).logits.dtype == jnp.float32
    assert (q.mean == q.mean.astype(jnp.bfloat16)).all()
    assert (exact.mean != exact.mean.astype(jnp.bfloat16)).any()


def test_a_mask_of_every_size():
    sizes = jnp.arange(5)
    masks = jax.vmap(lambda size: latents.prefix_mask(4, size))(sizes)
    np.testing.assert_array_equal(masks.sum(axis=1), sizes)
    kept = latents.apply_mask(masks[2], jnp.full((3, 4), jnp.inf))
    np.testing.assert_array_equal(kept[:, 2:], 0)


def test_a_conditional_model_refuses_missing_labels():
    vae, hparams = VAE((5, 4, 2), 3, NETWORKS["mlp"], num_classes=7), HParams.of(latent_size=3)
    params = jax.eval_shape(vae.init, hparams, MEAN)
    with pytest.raises(ValueError, match=r"y=None.*num_classes=7.*pass y"):
        jax.eval_shape(lambda p: vae.encode(hparams, p, jnp.zeros((2, 5, 4, 2))).center, params)


def test_trained_models_share_their_compiled_programs():
    model = VAE((4, 4, 1), 3, MLP((5,)))
    runs = [HParams.of(latent_size=3, seed=seed) for seed in (0, 1)]
    trained = [TrainedVAE(model, own, init(model, own, jnp.full((4, 4, 1), 0.3))) for own in runs]
    x, key = jax.random.uniform(jax.random.key(0), (2, 4, 4, 1)), jax.random.key(1)

    def images(run: TrainedVAE) -> list[jax.Array]:
        return [run.encode(x).center, run.reconstruct(x), run.sample(key, 2)]

    first = images(trained[0])
    with jax.no_tracing():
        second = images(trained[1])
    for ours, theirs, eager in zip(first, second, _eager(trained[0], x, key), strict=True):
        np.testing.assert_allclose(ours, eager, rtol=1e-5)
        assert not np.allclose(ours, theirs)


def _eager(run: TrainedVAE, x: jax.Array, key: jax.Array) -> list[jax.Array]:
    model, own = run.model, (run.hparams, run.params)
    z = model.sample_prior(*own, key, 2)
    return [model.encode(*own, x).center, model.reconstruct(*own, x), model.generate(*own, z)]
