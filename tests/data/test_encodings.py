"""Encodings: numbers stay what the source says, and what they are taken for is said."""

import numpy as np
import pytest

from tests.samples import RNG, numbered, save_npz
from vae_jax.runtime.errors import InputError

VECTORS = RNG.normal(3, 2, (12, 7))
WHOLE = RNG.integers(0, 9, (12, 7))
KINDS = {
    "real vectors": (VECTORS, "reals"),
    "real images": (RNG.normal(size=(12, 4, 5)), "reals"),
    "floats within [0, 1] off the gray levels": (RNG.uniform(size=(12, 4, 5)), "reals"),
    "float32 gray levels over 255": (numbered(12) / np.float32(255), "pixels"),
    "gray levels times 1/255": (numbered(12) * np.float32(1 / 255), "pixels"),
    "binary vectors": (WHOLE % 2, "pixels"),
    "bytes in vectors": (WHOLE.astype(np.uint8), "pixels"),
    "whole vectors": (WHOLE, "counts"),
    "whole vectors as floats": (WHOLE.astype(float), "counts"),
    "whole vectors below 0": (WHOLE - 3, "reals"),
    "single numbers": (VECTORS[:, 0], "reals"),
    "videos": (RNG.normal(size=(12, 2, 4, 5, 3)), "reals"),
}


@pytest.mark.parametrize(("x", "encoding"), KINDS.values(), ids=KINDS.keys())
def test_what_numbers_are_is_recognised_and_said(x, encoding, tmp_path, read):
    data = read(str(save_npz(tmp_path, x_train=x, x_valid=x[:2], x_test=x[:2])))
    assert data.encoding == encoding
    assert data.train.dtype == {"pixels": np.uint8, "counts": np.int32}.get(encoding, np.float32)
    assert data.record.recognised[0]
    shape = x.shape[1:] or (1,)
    assert data.event_shape == ((*shape, 1) if x.ndim == 3 else shape)


def test_real_numbers_are_neither_rounded_nor_divided(tmp_path, read):
    """Faint structure beside one bright pixel, which 8 bits would make black."""
    x = RNG.uniform(size=(12, 4, 5)).astype(np.float32) * np.float32(0.0019)
    x[:, 0, 0] = 1
    data = read(str(save_npz(tmp_path, x_train=x, x_valid=x[:2], x_test=x[:2])))
    np.testing.assert_array_equal(data.train[..., 0], x)
    large = read(str(save_npz(tmp_path, x_train=1e4 * x, x_valid=x[:2], x_test=x[:2])))
    np.testing.assert_array_equal(large.train[..., 0], 1e4 * x)


@pytest.mark.parametrize(
    ("encoding", "x", "expected"),
    [
        ("reals", numbered(12), numbered(12)),
        ("counts", numbered(12), numbered(12)),
        ("pixels", numbered(12).astype(float), numbered(12)),
        ("pixels", np.full((12, 4, 5), 0.3), np.full((12, 4, 5), 76)),
        ("reals", WHOLE, WHOLE),
    ],
)
def test_an_encoding_that_is_asked_for_is_taken(encoding, x, expected, tmp_path, read):
    path = str(save_npz(tmp_path, x_train=x, x_valid=x[:2], x_test=x[:2]))
    data = read(path, encoding=encoding)
    assert data.encoding == encoding
    np.testing.assert_array_equal(data.train.reshape(x.shape), expected)


def test_rounding_that_was_asked_for_is_said(tmp_path, read):
    x = RNG.uniform(size=(12, 4, 5))
    data = read(str(save_npz(tmp_path, x_train=x)), encoding="pixels")
    assert "rounded to 8 bits, by up to 0." in data.record.recognised[0]


@pytest.mark.parametrize(
    ("encoding", "x", "problem"),
    [
        ("pixels", VECTORS, "values from"),
        ("counts", VECTORS, "no counts"),
        ("counts", WHOLE - 3, "from -3 to"),
        ("bytes", WHOLE, "encoding=bytes: no such encoding; give one of auto, pixels"),
    ],
)
def test_an_encoding_that_the_numbers_do_not_allow_is_refused(encoding, x, problem, tmp_path, read):
    with pytest.raises(InputError) as caught:
        read(str(save_npz(tmp_path, x_train=x)), encoding=encoding)
    assert problem in str(caught.value)


@pytest.mark.parametrize("is_overall", [False, True], ids=["each", "overall"])
def test_standardized_data_have_the_moments_of_train_and_can_be_undone(is_overall, tmp_path, read):
    x = VECTORS * np.logspace(-2, 3, 7)
    x[:, 3] = 5.0
    path = str(save_npz(tmp_path, x_train=x[:8], x_valid=x[8:10], x_test=x[10:]))
    data = read(path, encoding="standardized_overall" if is_overall else "standardized")
    axes = None if is_overall else 0
    mean, deviation = x[:8].mean(axis=axes), x[:8].std(axis=axes)
    deviation = np.where(deviation > 0, deviation, 1)
    np.testing.assert_allclose(data.test, (x[10:] - mean) / deviation, rtol=1e-5, atol=1e-6)
    statistics = data.standardization
    undone = statistics.mean + statistics.deviation * data.test
    np.testing.assert_allclose(undone, x[10:], rtol=1e-4, atol=1e-3)
    expected = np.log(np.broadcast_to(deviation, 7)).sum()
    assert statistics.log_volume == pytest.approx(expected)


def test_dimensions_of_very_different_scales_are_named_with_the_remedy(tmp_path, read):
    x = VECTORS * np.logspace(-2, 3, 7)
    x[:, 3] = 5.0
    warnings = read(str(save_npz(tmp_path, x_train=x))).record.warnings
    assert "1 of 7 dimensions never change" in warnings[0]
    assert "encoding=standardized" in warnings[1]


OFFSET = 1.6e9 + 0.5 + 60 * np.arange(12)[:, None] * np.array([1, 2])


def test_digits_that_float32_drops_are_said(tmp_path, read):
    """Times in seconds: float32 knows them to 128 seconds."""
    warnings = read(str(save_npz(tmp_path, x_train=OFFSET))).record.warnings
    assert any("float32 rounds 2 of 2 dimensions" in text for text in warnings)
    x = VECTORS.copy()
    x[:, 0] = 0.1  # which float32 rounds, but which does not vary
    few = read(str(save_npz(tmp_path, x_train=x))).record.warnings
    assert not any("float32 rounds" in text for text in few)


def test_standardized_data_keep_the_digits_that_float32_would_drop(tmp_path, read):
    path = str(save_npz(tmp_path, x_train=OFFSET, x_valid=OFFSET[:2], x_test=OFFSET[:2]))
    data = read(path, encoding="standardized")
    expected = (OFFSET - OFFSET.mean(axis=0)) / OFFSET.std(axis=0)
    np.testing.assert_allclose(data.train, expected, rtol=1e-6, atol=1e-6)
    assert data.train.dtype == np.float32
    assert not any("float32 rounds" in text for text in data.record.warnings)
