"""What a model is given: the right x, z and labels pass unchanged, anything else is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import VAE, HParams, TrainedVAE
from vae_jax.models import inputs
from vae_jax.models.networks import MLP
from vae_jax.runtime.errors import InputError

EVENT = (2, 3, 1)
PIXELS = np.arange(12, dtype=np.uint8).reshape(2, *EVENT) * 20


@pytest.mark.parametrize(
    "x",
    [PIXELS, PIXELS / 255, (PIXELS / 255).astype(np.float32), jnp.asarray(PIXELS)],
    ids=["uint8", "float64", "float32", "jax"],
)
def test_pixels_are_divided_once_whatever_their_type(x):
    np.testing.assert_allclose(inputs.as_x(x, EVENT, "pixels"), PIXELS / 255, rtol=1e-6)


def test_one_example_needs_no_batch_and_truth_values_are_binary_pixels():
    assert inputs.as_x(PIXELS[0], EVENT, "pixels").shape == EVENT
    assert set(inputs.as_x(PIXELS > 100, EVENT, "pixels").ravel().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("x", "value", "remedy"),
    [
        (PIXELS.astype(float), "floats from 0 to 220", "divide by 255 once"),
        (PIXELS / 255 - 0.1, "floats from -0.1", "give uint8"),
        (np.full((1, *EVENT), np.nan), "floats from nan", "give uint8"),
        (PIXELS.astype(np.int64), "array of int64", "floats in [0, 1]"),
        (PIXELS[..., 0], "array of shape (2, 2, 3)", "[*batch, 2, 3, 1]"),
        (PIXELS.reshape(2, 6), "array of shape (2, 6)", "[*batch, 2, 3, 1]"),
    ],
    ids=["0-255", "below", "nan", "int64", "no channel", "flat"],
)
def test_x_of_another_scale_type_or_shape_is_refused(x, value, remedy):
    with pytest.raises(InputError) as caught:
        inputs.as_x(x, EVENT, "pixels")
    assert caught.value.setting == "x"
    assert value in str(caught.value.value)
    assert remedy in caught.value.advice


@pytest.mark.parametrize("encoding", ["reals", "standardized"])
def test_real_numbers_stay_as_they_are_and_pixels_are_none(encoding):
    x = np.random.default_rng(0).normal(scale=300, size=(5, 2)).astype(np.float32)
    np.testing.assert_array_equal(inputs.as_x(x, (2,), encoding), x)
    for wrong in (x.astype(np.uint8), x.astype(int), np.full((1, 2), np.inf)):
        with pytest.raises(InputError) as caught:
            inputs.as_x(wrong, (2,), encoding)
        assert caught.value.setting == "x"


@pytest.mark.parametrize("x", [np.array([-1, 2]), np.array([0.5, 2.0])])
def test_counts_are_whole_numbers_from_zero_on(x):
    assert inputs.as_x(np.array([0, 300]), (2,), "counts").tolist() == [0, 300]
    with pytest.raises(InputError, match="whole numbers from 0 on"):
        inputs.as_x(x, (2,), "counts")


@pytest.mark.parametrize("columns", [1, 2, 4, 47, 49])
def test_z_of_another_width_is_neither_padded_nor_cut(columns):
    with pytest.raises(InputError) as caught:
        inputs.as_z(np.ones((2, columns)), (3, 48))
    assert (caught.value.setting, caught.value.advice) == ("z", "give 3 columns")


@pytest.mark.parametrize(
    ("y", "num_classes"), [(None, 3), (3, 3), (-1, 3), ([0, 1, 2], 3), (0.0, 3), ([0, 0], 0)]
)
def test_labels_that_are_missing_unwanted_or_no_classes_are_refused(y, num_classes):
    with pytest.raises(InputError) as caught:
        inputs.as_y(y, num_classes, (2,))
    assert caught.value.setting == "y"


def test_particles_share_the_label_of_their_example():
    assert inputs.as_y([0, 2], 3, (4, 2)).tolist() == [[0, 2]] * 4
    assert inputs.as_y(None, 0, (2,)) is None


def test_a_trained_model_checks_what_it_is_given_also_under_jit():
    model, hparams = VAE(EVENT, 4, MLP((5,))), HParams.of(latent_size=3)
    run = TrainedVAE(model, hparams, jax.jit(model.init)(hparams, jnp.full(EVENT, 0.5)))
    codes = run.encode(PIXELS).center
    np.testing.assert_allclose(codes, run.encode(PIXELS / 255).center, rtol=1e-5)
    np.testing.assert_allclose(codes, jax.jit(lambda x: run.encode(x).center)(PIXELS), rtol=1e-5)
    np.testing.assert_array_equal(run.generate(codes), run.generate(codes[:, :3]))
    for wrong in (codes[:, :2], codes[:, :4]):
        with pytest.raises(InputError, match="uses 3 latents; give 3 columns"):
            run.generate(wrong)
    with pytest.raises(InputError, match="floats from 0 to 220"):
        run.reconstruct(PIXELS.astype(np.float32))
