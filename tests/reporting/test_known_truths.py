"""Diagnostics against runs whose truth is known: no false alarm, no miss.

The rows and curves are made by hand, after runs that were seen. The page
``docs/explanation/diagnostics.md`` has the same table.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from vae_jax.reporting import diagnostics

COLLAPSE, SCALE, OVERFITTING = "posterior collapse", "a scale that does not fit", "overfitting"
INFERENCE, UNTRUSTED = "poor inference", "estimates not to be trusted"
UNFINISHED = "unfinished learning"
DOCS = Path(__file__).parents[2] / "docs" / "explanation" / "diagnostics.md"

RUN = {
    "run": 0,
    "diverged": "",
    "beta": 1.0,
    "objective": "elbo",
    "kl_penalty": "beta",
    "posterior": "gaussian",
    "binarize": "none",
    "eval_particles": 100,
    "test_elbo": -98.0,
    "test_kl": 25.0,
    "test_log_likelihood": -73.0,
    "test_nll": 96.0,
    "test_bound_gain_se": 0.1,
    "test_ess_median": 40.0,
    "test_ess_low_share": 0.0,
    "test_nll_distrust": "",
    "variance_per_latent": [0.9] * 4,
    "kl_per_latent": [6.25] * 4,
    "train_nll": 95.5,
    "nll_gap": 0.5,
    "nll_gap_se": 1.0,
}
"""A run without any problem."""
FLAT = -98.0 + 0.05 * np.random.default_rng(0).normal(size=10)
DISTRUST = "On 100% of the examples the bound ..."


def curve(elbo, kl=25.0, error=0.5, train=None, start=0):
    """Return the history of a run: its valid terms at each evaluation, and its train ELBO."""
    elbo, kl = np.broadcast_arrays(np.asarray(elbo, float), kl)
    train = elbo + 1 if train is None else train
    terms = zip(elbo, kl, np.broadcast_to(train, elbo.shape), strict=True)
    return [
        {
            "step": start + 500 * i,
            "valid_elbo": float(e),
            "valid_kl": float(k),
            "valid_log_likelihood": float(e + k),
            "train_elbo": float(t),
            **({} if error is None else {"valid_elbo_se": error}),
        }
        for i, (e, k, t) in enumerate(terms, 1)
    ]


def jitter(deviation, seed, num=10):
    return -98.0 + deviation * np.random.default_rng(seed).normal(size=num)


class Truth(NamedTuple):
    """A run and the problems that it has; all others it does not have."""

    changes: dict
    history: list
    problems: tuple = ()


T = np.arange(1, 11)
NARROW = {"test_kl": 8.0, "test_elbo": -50.0, "test_nll": 49.9, "train_nll": 49.5}
IMAGES = {"likelihood": "gaussian", "scale_mode": "fixed", "scale": 1.0, "num_values": 784}
TRUTHS = {
    "converged": Truth({}, curve(FLAT)),
    "converged, with jitter of 0.3 nats": Truth({}, curve(jitter(0.3, 1))),
    "converged, tiny, valid of one image": Truth(
        NARROW | {"test_ess_median": 9.98, "eval_particles": 10, "hidden_sizes": ""},
        curve(jitter(0.8, 2), error=None),
    ),
    "converged, cosine schedule": Truth({"schedule": "cosine"}, curve(-98 - 3 * np.cos(T / 7))),
    "overfitted": Truth(
        {"nll_gap": 14.9, "nll_gap_se": 1.7},
        curve(-100 - 0.1 * (T - 4) ** 2, train=-100 + 2 * T),
        (OVERFITTING,),
    ),
    "overfitted a little, past its peak": Truth(
        {"nll_gap": 1.8, "nll_gap_se": 0.6, "train_nll": 95.5},
        curve(-98 - 0.15 * np.abs(T - 3), train=-98 + 0.1 * T),
        (OVERFITTING,),
    ),
    "overfitted encoder, loose bounds": Truth(
        {"nll_gap": 183.0, "nll_gap_se": 4.0, "test_nll_distrust": DISTRUST}
        | {"test_elbo": -400.0, "test_nll": 290.0, "test_ess_low_share": 1.0},
        curve(-350 - 5 * T, train=-90 + T),
        (OVERFITTING, INFERENCE, UNTRUSTED),
    ),
    "test better than train": Truth({"nll_gap": -8.7, "nll_gap_se": 1.5}, curve(FLAT)),
    "train falls as well": Truth({}, curve(-98 - 0.5 * T, train=-97 - 0.5 * T)),
    "collapsed in two of four latents": Truth(
        {"variance_per_latent": [0.9, 0.9, 1e-4, 1e-5], "kl_per_latent": [12.0, 13.0, 0, 0]},
        curve(FLAT),
        (COLLAPSE,),
    ),
    "collapsed altogether": Truth(
        {"variance_per_latent": [0.0] * 4, "kl_per_latent": [0.0] * 4, "test_kl": 1e-7}
        | {"test_nll": 97.999},
        curve(FLAT, kl=0.0),
        (COLLAPSE,),
    ),
    "mean images at the fixed scale 1": Truth(
        IMAGES
        | {"test_log_likelihood": -738.0, "test_elbo": -739.0, "test_kl": 1.0}
        | {"test_nll": 738.95, "train_nll": 738.9, "variance_per_latent": [0.5, 0, 0, 0]},
        curve(jitter(0.05, 3) - 641, kl=1.0),
        (COLLAPSE, SCALE),
    ),
    "a fixed scale that fits": Truth(
        IMAGES | {"scale": 0.25, "test_log_likelihood": -25.7}, curve(FLAT)
    ),
    "unfinished, smooth": Truth({}, curve(-98 - 60 * np.exp(-T / 5)), (UNFINISHED,)),
    "unfinished, three evaluations, +46 nats": Truth(
        {}, curve([-250, -180, -134], error=3.0), (UNFINISHED,)
    ),
    "unfinished, within the warm-up of the KL": Truth(
        {"kl_warmup_steps": 6000}, curve(FLAT), (UNFINISHED,)
    ),
    "converged after a warm-up of the KL": Truth(
        {"kl_warmup_steps": 2500}, curve(np.r_[-90 - T[:4], FLAT[4:]])
    ),
    "beta 0": Truth(
        {"beta": 0.0, "test_elbo": -900.0, "test_kl": 850.0, "test_nll": 400.0}
        | {"nll_gap": -8.7, "nll_gap_se": 5.0, "train_nll": 410.0}
        | {"test_ess_median": 1.0, "test_ess_low_share": 1.0, "test_nll_distrust": DISTRUST},
        curve(-100 - 80 * T, kl=60 + 80 * T - 0.001 * T),
        (UNTRUSTED,),
    ),
    "beta 0.01": Truth(
        {"beta": 0.01, "test_elbo": -180.0, "test_kl": 140.0, "test_nll": 130.0}
        | {"nll_gap": 1.0, "nll_gap_se": 2.0, "train_nll": 129.0}
        | {"test_ess_median": 1.4, "test_ess_low_share": 1.0, "test_nll_distrust": DISTRUST},
        curve(-120 - 6 * T, kl=80 + 6 * T),
        (UNTRUSTED,),
    ),
    "beta 4": Truth(
        {"beta": 4.0, "test_elbo": -130.0, "test_kl": 8.0, "test_nll": 110.0, "train_nll": 109.0},
        curve(-130 - 0.5 * T + 0.02 * FLAT, kl=10 - T / 6),
    ),
    "beta 4, unfinished": Truth(
        {"beta": 4.0, "test_elbo": -150.0, "test_kl": 8.0, "test_nll": 140.0, "train_nll": 139.0},
        curve(-150 - 0.5 * T, kl=20 - T),
        (UNFINISHED,),
    ),
    "beta 64, its ELBO past its peak": Truth(
        {"beta": 64.0, "test_elbo": -400.0, "test_kl": 0.9, "test_nll": 396.0, "train_nll": 395.0},
        curve(-380 - 2.0 * T, kl=2.0, train=-380 + T),
    ),
    "total correlation, its ELBO past its peak": Truth(
        {"tc_weight": 6.0}, curve(-98 - 0.5 * T, train=-98 + T)
    ),
    "capacity, its ELBO past its peak": Truth(
        {"kl_penalty": "capacity", "capacity_steps": 1000}, curve(-98 - 0.5 * T, train=-98 + T)
    ),
    "poor inference": Truth({"test_nll": 88.1}, curve(FLAT), (INFERENCE,)),
    "inference on the border": Truth({"test_nll": 92.7, "test_bound_gain_se": 0.3}, curve(FLAT)),
    "trained by IWAE": Truth({"objective": "iwae", "test_nll": 88.1}, curve(FLAT)),
    "K = 5, exact posterior": Truth(
        {"eval_particles": 5, "test_ess_median": 4.99, "test_nll": 97.9}, curve(FLAT)
    ),
    "K = 5, one weight counts": Truth(
        {"eval_particles": 5, "test_ess_median": 1.2, "test_nll_distrust": DISTRUST},
        curve(FLAT),
        (UNTRUSTED,),
    ),
    "AIS 14 nats below another bound": Truth(
        {"ais_gain": -14.0, "ais_gain_se": 1.7}, curve(FLAT), (UNTRUSTED,)
    ),
    "AIS as high as the other bound": Truth(
        {"ais_gain": -0.3, "ais_gain_se": 0.1, "bdmc_gap": 0.4, "bdmc_gain": 0.2}, curve(FLAT)
    ),
}


def diagnosed(truth):
    return diagnostics.diagnose_run(RUN | truth.changes, truth.history)


@pytest.mark.parametrize("name", TRUTHS)
def test_a_check_speaks_where_it_must_and_is_silent_elsewhere(name):
    found = [each.problem for each in diagnosed(TRUTHS[name]) if each.is_found]
    assert set(found) == set(TRUTHS[name].problems)


@pytest.mark.parametrize("name", TRUTHS)
def test_no_sentence_holds_a_number_that_is_none(name):
    text = " ".join(diagnostics.as_sentences(diagnosed(TRUTHS[name])))
    for word in ("nan", "None", "inf "):
        assert word not in text
    for percent in re.findall(r"([\d,]+)%", text):
        assert float(percent.replace(",", "")) <= 1000


def test_a_flat_curve_hardly_ever_alarms():
    """Two hundred runs without any trend or gap, whose curves jitter by sd 0.3."""
    alarms = 0
    for seed in range(200):
        truth = Truth({}, curve(jitter(0.3, seed), train=-97 + 0.01 * T))
        alarms += any(each.is_found for each in diagnosed(truth))
    assert alarms < 8


def test_the_page_has_this_table():
    rows = re.findall(r"^\| (.+?) \| (.*?) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    table = {name: tuple(filter(None, problems.split(", "))) for name, problems in rows}
    expected = {name: truth.problems for name, truth in TRUTHS.items()}
    assert {name: table.get(name) for name in expected} == expected
