"""Every architecture: shapes, initial weights, weight norm; residual blocks against XLA's own."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vae_jax.hparams import HParams
from vae_jax.models.networks import MLP, NETWORKS, Conv, Discriminator, ResNet, layers, resnet
from vae_jax.models.vae import VAE

LAYOUT = ("NHWC", "HWIO", "NHWC")
SIZES = {"hidden_sizes": (6, 5)}
SMALL = {"mlp": MLP(**SIZES), "conv": Conv((3, 4), **SIZES), "resnet": ResNet((3, 4), 2, **SIZES)}
SHAPES = [(28, 28, 1), (9, 14, 3), (5, 1, 2), (1, 1, 1)]
KEY = jax.random.key(0)


def normal(index, *shape):
    return jnp.asarray(np.random.default_rng(index).normal(size=shape))


def apply(module, params, *args):
    return module.apply({"params": params}, *args)


def reference_conv_same(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)


def test_the_registry_has_every_architecture():
    assert SMALL.keys() == NETWORKS.keys()
    assert all(type(SMALL[name]) is kind for name, kind in NETWORKS.items())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SMALL)
def test_any_image_shape(name, shape):
    network = dataclasses.replace(SMALL[name], weight_norm=True)
    features, _ = jax.eval_shape(
        network.encoder_body().init_with_output, KEY, jnp.ones((2, *shape))
    )
    assert features.shape == (2, 5)
    latent_mask = jnp.ones(3, bool)
    images, _ = jax.eval_shape(
        network.decoder(shape).init_with_output, KEY, jnp.ones((4, 3)), latent_mask
    )
    assert images.shape == (4, *shape)


def test_the_first_latents_of_a_resnet_start_as_in_the_narrow_model():
    network, hparams = ResNet((3,), 1, (4,), weight_norm=True), HParams.of()
    models = [VAE((5, 4, 2), size, network) for size in (3, 60)]
    narrow, wide = (model.init(hparams, jnp.full((5, 4, 2), 0.3)) for model in models)
    width = models[0].width
    flat = [jax.tree.leaves_with_path((p["encoder"], p["decoder"])) for p in (narrow, wide)]
    for (path, small), (_, large) in zip(*flat, strict=True):
        name = jax.tree_util.keystr(path)
        if "latent" in name and "kernel" in name:
            large = large[:width]
        if "mean" in name or "log_var" in name:
            large = large[..., :width]
        np.testing.assert_array_equal(small, large, err_msg=name)


@pytest.mark.parametrize("name", SMALL)
def test_a_narrow_dtype_narrows_the_computation_only(name):
    network = dataclasses.replace(SMALL[name], weight_norm=True, dtype="bfloat16")
    features, variables = jax.eval_shape(
        network.encoder_body().init_with_output, KEY, jnp.ones((2, 6, 6, 1))
    )
    assert features.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("size", [(7, 4), (1, 1)])
def test_conv_same_is_xlas_to_float64_precision(float64, size):
    x, kernel, weights = normal(0, 3, *size, 2), normal(1, 3, 3, 2, 5), normal(2, 3, *size, 5)

    def value_and_gradients(fn):
        out, pullback = jax.vjp(fn, x, kernel)
        return out, *pullback(weights * out)

    both = resnet.conv_same, reference_conv_same
    results = [jax.jit(value_and_gradients, static_argnums=0)(fn) for fn in both]
    for ours, reference in zip(*results, strict=True):
        assert ours.dtype == jnp.float64
        np.testing.assert_allclose(ours, reference, rtol=1e-12, atol=1e-12)


def test_vmap_over_kernels_makes_no_convolution():
    x, kernels = normal(0, 4, 3, 6, 6, 2), normal(1, 4, 3, 3, 2, 5)
    text = jax.jit(jax.vmap(resnet.conv_same)).lower(x, kernels).as_text()
    assert "convolution" not in text


def test_the_small_convolution_has_linens_parameters():
    x = normal(0, 2, 6, 5, 3).astype(jnp.float32)
    ours, linens = resnet.SameConv(4), nn.Conv(4, (3, 3))
    params = ours.init(KEY, x)
    jax.tree.map(np.testing.assert_array_equal, params, linens.init(KEY, x))
    np.testing.assert_allclose(ours.apply(params, x), linens.apply(params, x), atol=1e-5)


def test_a_residual_block_is_its_formula(float64):
    block, x = resnet.Residual(jnp.tanh), normal(0, 2, 5, 4, 3)
    params = block.init(KEY, x)["params"]
    np.testing.assert_array_equal(apply(block, params, x), x)
    branch = x
    for layer in ("SameConv_0", "SameConv_1"):
        bias = params[layer]["bias"]
        branch = reference_conv_same(jnp.tanh(branch), params[layer]["kernel"]) + bias.reshape(
            1, 1, 1, -1
        )
    moved = params | {"multiple": jnp.float64(0.7)}
    np.testing.assert_allclose(apply(block, moved, x), x + 0.7 * branch, rtol=1e-12, atol=1e-12)


def test_with_multiples_of_zero_a_resnet_is_the_convolutional_network(float64):
    x, draw = normal(0, 2, 9, 6, 2), np.random.default_rng(0).normal
    plain, deep = SMALL["conv"].encoder_body(), SMALL["resnet"].encoder_body()
    shapes = jax.eval_shape(deep.init, KEY, x)["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(draw(size=leaf.shape)), shapes)
    blocks = [name for name in params if "Residual" in name]
    assert len(blocks) == 4
    params |= {name: params[name] | {"multiple": jnp.float64(0)} for name in blocks}
    np.testing.assert_allclose(apply(deep, params, x), apply(plain, params, x), rtol=1e-12)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(layers.Dense(5), (2, 7)), (resnet.SameConv(5), (2, 4, 3, 2))],
)
def test_weight_norm_is_g_v_over_the_norm_of_v(float64, layer, shape):
    x, normed = normal(0, *shape), layers.optional_weight_norm(layer, weight_norm=True)
    params = normed.init(KEY, x)["params"]
    own, scale = params["layer_instance"], "layer_instance/kernel/scale"
    jax.tree.map(np.testing.assert_array_equal, params, normed.init(KEY, 100 * x)["params"])
    np.testing.assert_array_equal(params[scale], np.ones(5))
    gains, v = np.linspace(0.5, 2, 5), np.asarray(own["kernel"])
    norms = np.sqrt((v**2).sum(axis=tuple(range(v.ndim - 1))))
    expected = apply(layer, {"kernel": v * gains / norms, "bias": own["bias"]}, x)
    moved = apply(normed, params | {scale: gains}, x)
    np.testing.assert_allclose(moved, expected, rtol=1e-10)


@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_normalised_across_latents_or_at_the_output(name):
    network = dataclasses.replace(SMALL[name], weight_norm=True)
    model, mean = VAE((5, 4, 2), 3, network), jnp.full((5, 4, 2), 0.3)
    params = jax.eval_shape(model.init, HParams.of(), mean)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
    scaled = [path for path in paths if "scale" in path]
    kernels = [path for path in paths if path.endswith("['kernel']")]
    assert len(kernels) - len(scaled) == len(["mean", "log_var", "latent", "output"])
    assert not [path for path in scaled if any(w in path for w in ("mean", "log_var", "latent"))]


def test_the_discriminator_gives_one_logit_that_depends_on_used_coordinates_only():
    latent_mask, z = jnp.arange(6) < 3, normal(0, 2, 4, 6).astype(jnp.float32)
    discriminator = Discriminator((5, 4))
    logits, variables = discriminator.init_with_output(KEY, z, latent_mask)
    assert logits.shape == (2, 4)
    other = discriminator.apply(variables, z.at[..., 3:].set(jnp.nan), latent_mask)
    np.testing.assert_array_equal(logits, other)
