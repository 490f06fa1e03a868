"""Convolutions as matrix products against XLA's own, and the networks built from them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vae_jax.models.networks import conv

LAYOUT = ("NHWC", "HWIO", "NHWC")
SIZES = [(8, 6), (7, 10), (2, 3), (1, 1)]
BATCH, CHANNELS, FEATURES = 3, 2, 5


def reference_conv(x, kernel):
    return lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT)


def reference_conv_transpose(h, kernel, size):
    whole = lax.conv_transpose(h, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT)
    return whole[:, : size[0], : size[1]]


def normal(index, *shape):
    return jnp.asarray(np.random.default_rng(index).normal(size=shape))


def half(size):
    return tuple(-(-n // 2) for n in size)


def assert_same(left, right):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), left, right)


def assert_close(left, right):
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def value_and_gradients(fn, weights, *args):
    """Return value and gradients of a quadratic form, whose cotangent depends on the value."""

    @jax.jit
    def both(*args):
        out, pullback = jax.vjp(fn, *args)
        return out, pullback(weights * out)

    return both(*args)


@pytest.mark.parametrize("size", SIZES)
def test_conv_is_xlas_to_float64_precision(float64, size):
    x, kernel = normal(0, BATCH, *size, CHANNELS), normal(1, 4, 4, CHANNELS, FEATURES)
    weights = normal(2, BATCH, *half(size), FEATURES)
    ours = value_and_gradients(conv.conv, weights, x, kernel)
    assert ours[0].dtype == jnp.float64
    assert_same(ours, value_and_gradients(reference_conv, weights, x, kernel))


@pytest.mark.parametrize("size", SIZES)
def test_conv_transpose_is_xlas_to_float64_precision(float64, size):
    h, kernel = normal(0, BATCH, *half(size), CHANNELS), normal(1, 4, 4, CHANNELS, FEATURES)
    weights = normal(2, BATCH, *size, FEATURES)
    ours, reference = (
        value_and_gradients(lambda h, k, fn=fn: fn(h, k, size), weights, h, kernel)
        for fn in (conv.conv_transpose, reference_conv_transpose)
    )
    assert ours[0].dtype == jnp.float64
    assert_same(ours, reference)


def test_forward_mode_agrees_with_reverse_mode(float64):
    x, kernel = normal(0, BATCH, 5, 6, CHANNELS), normal(1, 4, 4, CHANNELS, FEATURES)

    def energy(x):
        return jnp.sum(jnp.sin(conv.conv(x, kernel)))

    tangent = normal(2, *x.shape)
    _, forward = jax.jvp(energy, (x,), (tangent,))
    assert_same(forward, jnp.vdot(jax.grad(energy)(x), tangent))


def test_vmap_over_kernels_makes_no_convolution():
    x, kernels = normal(0, 4, BATCH, 6, 6, CHANNELS), normal(1, 4, 4, 4, CHANNELS, FEATURES)
    mapped = jax.jit(jax.vmap(conv.conv))
    alone = jnp.stack([conv.conv(x[run], kernels[run]) for run in range(4)])
    assert_close(mapped(x, kernels), alone)
    assert "convolution" not in mapped.lower(x, kernels).as_text()


def test_layers_have_linens_parameters_and_initial_values():
    x = normal(0, BATCH, 6, 6, CHANNELS)
    key = jax.random.key(1)
    ours = conv.Convolution(FEATURES), conv.TransposedConvolution(FEATURES, (12, 12))
    linens = nn.Conv(FEATURES, (4, 4), 2), nn.ConvTranspose(FEATURES, (4, 4), (2, 2))
    for our, linen in zip(ours, linens, strict=True):
        jax.tree.map(np.testing.assert_array_equal, our.init(key, x), linen.init(key, x))
        params = jax.tree.map(lambda p: p + 0.1, linen.init(key, x))
        assert_close(our.apply(params, x), linen.apply(params, x))


@pytest.mark.parametrize(
    ("shape", "batch"),
    [((28, 28, 1), (4,)), ((9, 14, 3), (2, 3)), ((1, 1, 1), (2,)), ((5, 1, 2), ())],
)
def test_bodies_take_any_image_and_any_leading_axes(shape, batch):
    network = conv.Conv((4, 6, 8), (10, 7))
    encoder = network.encoder_body()
    x, key = normal(1, *batch, *shape), jax.random.key(0)
    features, _ = jax.eval_shape(encoder.init_with_output, key, x)
    assert features.shape == (*batch, 7)
    decoder = conv.ConvDecoder(network, shape)
    images, variables = jax.eval_shape(decoder.init_with_output, key, features)
    assert images.shape == (*batch, *shape)
    assert set(variables["params"]["ConvTranspose_1"]) == {"kernel", "bias"}
    assert set(variables["params"]["ConvTranspose_2"]) == {"kernel"}


def test_parameters_have_the_names_of_checkpoints():
    network = conv.Conv((3, 4), (5,), weight_norm=True)
    bodies = network.encoder_body(), conv.ConvDecoder(network, (6, 6, 1))
    shapes = (1, 6, 6, 1), (1, 5)
    encoder, decoder = (
        set(jax.eval_shape(body.init, jax.random.key(0), jnp.zeros(shape))["params"])
        for body, shape in zip(bodies, shapes, strict=True)
    )
    norms = {"WeightNorm_0", "WeightNorm_1"}
    assert encoder == {"Conv_0", "Conv_1", "Dense_0", "WeightNorm_2"} | norms
    assert decoder == {"ConvTranspose_0", "ConvTranspose_1", "Dense_0"} | norms


def test_leading_axes_are_independent_examples():
    x = normal(0, 2, 3, 9, 6, 1)
    kernel = normal(1, 4, 4, 1, FEATURES)
    assert_close(conv.conv(x, kernel)[1, 2], conv.conv(x[1, 2], kernel))


def test_parameters_of_the_benchmarked_network():
    network = conv.Conv((32, 64), (256,))
    encoder, decoder = network.encoder_body(), conv.ConvDecoder(network, (28, 28, 1))
    variables = (
        jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1))),
        jax.eval_shape(decoder.init, jax.random.key(0), jnp.zeros((1, 256))),
    )
    shapes = [leaf.shape for leaf in jax.tree.leaves(variables)]
    assert shapes.count((4, 4, 32, 64)) == 1
    assert shapes.count((4, 4, 64, 32)) == 1
    assert sum(np.prod(shape) for shape in shapes) == 1_675_712


def test_a_narrow_dtype_narrows_the_computation_only():
    x = normal(0, BATCH, 6, 6, 1)
    encoder = conv.Conv((4,), (5,), dtype="bfloat16").encoder_body()
    features, variables = jax.eval_shape(encoder.init_with_output, jax.random.key(1), x)
    assert features.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
