"""Numbers are written alike everywhere, and what is absurd but finite stays short."""

import math

import numpy as np
import pytest

from vae_jax.reporting import format

MINUS = "\N{MINUS SIGN}"
ABSURD = 1234567890123456789012345  # 25 digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-1234.567, f"{MINUS}1,234.57"),
        (0.0, "0.00"),
        (-0.0049, "0.00"),
        (9_999_999.0, "9,999,999.00"),
        (-1e7, f"{MINUS}1.00e+07"),
        (1e-9, "0.00"),
    ],
)
def test_reals_have_two_decimals_and_a_minus_sign(value, text):
    assert format.real(value) == text


@pytest.mark.parametrize(
    "write",
    [
        *(format.real, format.with_error, format.nats, format.share, format.significant),
        lambda value: format.seconds(abs(value)),
        *(format.rounded, format.setting, format.tick),
        lambda value: format.real(value, 0),
        lambda value: format.count(int(value)),
        lambda value: format.setting(int(value)),
        lambda value: format.significant(int(value)),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_absurd_but_finite_numbers_are_short(write, sign):
    text = write(sign * float(ABSURD))
    assert len(text) <= 16
    assert "e+" in text


@pytest.mark.parametrize("error", [None, math.nan, math.inf])
def test_an_error_that_is_not_known_is_not_written(error):
    assert format.with_error(-98.0, error) == f"{MINUS}98.00"


@pytest.mark.parametrize(
    ("error", "text"), [(0.0, "0.00"), (0.004, "0.004"), (0.0003, "0.0003"), (1e-6, "0.00")]
)
def test_a_small_error_does_not_look_like_none(error, text):
    assert format.standard_error(error) == text


def test_a_huge_error_is_short_beside_its_mean():
    assert format.with_error(1e25, 2e24) == "1.00e+25 ± 2.00e+24"


def test_settings_can_be_given_back_to_a_flag():
    for value in (1e-5, -0.25, 3, 4.0, math.inf, 123456.0):
        assert float(format.setting(value)) == value
    assert format.settings({"beta": 4.0, "latent_size": 8}) == "beta = 4, latent_size = 8"


def test_long_ticks_are_broken_between_words():
    assert format.tick("vamp_prior_of_500") == "vamp\nprior of\n500"
    assert format.tick("400,200") == "400,200"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0 s"), (59.96, "60.0 s"), (60, "1 min 0 s"), (3599.9, "1 h 0 min")],
)
def test_durations_have_two_units(value, text):
    assert format.seconds(value) == text


def test_percent_of_a_share():
    assert (format.share(0.245), format.share(-0.06)) == ("24%", f"{MINUS}6%")


def test_a_panel_of_counts_has_no_decimals_and_unknown_cells_do_not_matter():
    assert format.decimals(np.array([3.0, np.nan])) == 0
    assert format.decimals(np.array([np.nan])) == 0
    assert format.decimals(np.array([9.5, 3.0, np.nan])) == 2
    assert format.decimals(np.array([-10.5, 3.0])) == 1


def test_where_errors_and_means_come_from():
    assert "examples" in format.error_source(np.array([1, 0]))
    assert "examples" not in format.error_source(np.array([2, 3]))
    assert "examples where one seed is left" in format.error_source(np.array([1, 2]))
    assert format.mean_source(np.array([1, 0])) == ""
    assert format.mean_source(np.array([0, 0])) == ""
    assert "2 to 3 seeds" in format.mean_source(np.array([[3, 0], [2, 3]]))
