"""Diagnostics against runs whose truth is known: no false alarm, no miss.

The rows and curves are made by hand, after runs that were seen. The page
``docs/explanation/diagnostics.md`` has the same table, which this module writes when it is run.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from vae_jax.reporting import diagnostics

COLLAPSE, SCALE, OVERFITTING = "posterior collapse", "a scale that does not fit", "overfitting"
INFERENCE, UNTRUSTED = "poor inference", "estimates not to be trusted"
UNFINISHED, HOLES = "unfinished learning", "prior holes"
NOT_FINITE = "numbers that are not finite"
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


def jitter(deviation, seed, num=10, correlation=0.0):
    drawn = np.random.default_rng(seed).normal(size=num + 50) * np.sqrt(1 - correlation**2)
    for i in range(1, len(drawn)):
        drawn[i] += correlation * drawn[i - 1]
    return -98.0 + deviation * drawn[-num:]


class Truth(NamedTuple):
    """A run and the problems that it has; all others it does not have."""

    changes: dict
    history: list
    problems: tuple = ()


T = np.arange(1, 11)
NARROW = {"test_kl": 8.0, "test_elbo": -50.0, "test_nll": 49.9, "train_nll": 49.5}
IMAGES = {"likelihood": "gaussian", "scale_mode": "fixed", "scale": 1.0, "num_values": 784}
DENSITY = {"likelihood": "gaussian", "scale_mode": "learned", "scale": 1.0, "num_values": 784}
PLAIN = {"posterior": "delta", "test_elbo": None, "test_kl": None, "test_nll": None}
PLAIN |= {"test_nll_distrust": None, "test_ess_median": None, "nll_gap": None, "nll_gap_se": None}
PLAIN |= {"kl_per_latent": [None] * 4}
SAMPLES = {"precision_pixels": 0.88, "precision_aggregate": 0.9, "mmd_pixels": 0.01}
SAMPLES |= {"precision_pixels_se": 0.01, "precision_aggregate_se": 0.01, "mmd_aggregate": 0.009}
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
    "IWAE of one particle, poor inference": Truth(
        {"objective": "iwae", "num_particles": 1, "test_nll": 88.1}, curve(FLAT), (INFERENCE,)
    ),
    "free bits of which none are free, overfitted": Truth(
        {"kl_penalty": "free_bits", "free_bits": 0.0},
        curve(-98 - 1.0 * np.abs(T - 3), train=-98 + T),
        (OVERFITTING,),
    ),
    "free bits, its ELBO past its peak": Truth(
        {"kl_penalty": "free_bits", "free_bits": 0.5}, curve(-98 - np.abs(T - 3), train=-98 + T)
    ),
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
    "converged, jitter correlated by 0.9": Truth({}, curve(jitter(0.3, 5, 60, 0.9))),
    "converged by the second of four evaluations": Truth({}, curve([-160, -98, -98.1, -97.9])),
    "unfinished, 200 evaluations": Truth(
        {}, curve(-98 - 60 * np.exp(-np.arange(200) / 100) + jitter(0.2, 6, 200)), (UNFINISHED,)
    ),
    "not trained at all, started from weights": Truth({}, curve(np.full(10, -98.0))),
    "one test example": Truth(
        {"test_log_likelihood_se": None, "test_bound_gain_se": None, "nll_gap_se": None}
        | {"variance_per_latent": [0.0] * 4, "test_nll": 60.0, "nll_gap": 30.0}
        | {"ais_gain": 3.0, "ais_gain_se": None},
        curve(FLAT),
    ),
    "no valid terms": Truth({}, []),
    "one importance weight": Truth(
        {"eval_particles": 1, "test_nll": 98.3, "test_bound_gain_se": 0.4}
        | {"test_ess_median": None, "test_ess_low_share": None, "test_nll_distrust": None},
        curve(FLAT),
    ),
    "narrow codes that vary little": Truth(
        {"beta": 0.01, "variance_per_latent": [0.005] * 4}, curve(FLAT)
    ),
    "plain autoencoder, small codes": Truth(
        PLAIN | {"variance_per_latent": [4e-3, 3e-3, 2e-3, 4e-3]}, curve(FLAT)
    ),
    "plain autoencoder, a latent without use": Truth(
        PLAIN | {"variance_per_latent": [4.0, 3.0, 2.0, 0.0]}, curve(FLAT), (COLLAPSE,)
    ),
    "codes on a sphere": Truth(
        {"posterior": "von_mises_fisher", "prior": "uniform_sphere"}
        | {"variance_per_latent": [1e-3] * 4, "kl_per_latent": [None] * 4},
        curve(FLAT),
    ),
    "density near 0 nats, in another unit of x": Truth(
        DENSITY
        | {"test_elbo": 2.0, "test_nll": -4.0, "train_nll": -5.0, "nll_gap_se": 0.2}
        | {"nll_gap": 1.0},
        curve(FLAT + 100),
    ),
    "density of vectors, overfitted": Truth(
        DENSITY | {"num_values": 2, "nll_gap": 0.9, "nll_gap_se": 0.1, "train_nll": -50_000.0},
        curve(FLAT),
        (OVERFITTING,),
    ),
    "ELBO of -50,000 nats": Truth(
        {"test_elbo": -5e4, "test_nll": 49990.0, "test_kl": 300.0, "train_nll": 49800.0}
        | {"nll_gap": 190.0, "nll_gap_se": 120.0},
        curve(500 * FLAT, kl=300.0, error=80.0),
    ),
    "positive ELBO": Truth(
        DENSITY | {"test_elbo": 1148.0, "test_nll": -1150.0, "train_nll": -1151.0},
        curve(1246 + FLAT, error=8.0),
    ),
    "overfitted, train saturated": Truth(
        {"nll_gap": 1.0, "nll_gap_se": 1.0},
        curve(-98 - 1.0 * np.abs(T - 3), train=-90 + 0.3 * np.sin(5 * T)),
        (OVERFITTING,),
    ),
    "past its peak, the best weights kept": Truth(
        {"best_step": 1500}, curve(-98 - 1.0 * np.abs(T - 3), train=-98 + T)
    ),
    "stopped by patience under a cosine, flat": Truth(
        {"schedule": "cosine", "stopped": 5000, "patience": 3}, curve(FLAT)
    ),
    "stopped by patience under a cosine, still rising": Truth(
        {"schedule": "cosine", "stopped": 5000, "patience": 3}, curve(-98 + 3.0 * T), (UNFINISHED,)
    ),
    "stopped by patience within the warm-up of the KL": Truth(
        {"kl_warmup_steps": 6000, "stopped": 5000, "patience": 3}, curve(FLAT), (UNFINISHED,)
    ),
    "fixed scale 1, made up for by beta": Truth(
        IMAGES
        | {"beta": 0.04, "test_log_likelihood": -736.1, "test_elbo": -761.0}
        | {"test_nll": 760.0, "train_nll": 759.5},
        curve(FLAT),
        (SCALE,),
    ),
    "Student's t at the fixed scale 1": Truth(
        IMAGES
        | {"likelihood": "student_t", "degrees_of_freedom": 4.0}
        | {"test_log_likelihood": -815.0},
        curve(FLAT),
        (SCALE,),
    ),
    "prior holes": Truth(SAMPLES | {"precision_pixels": 0.4}, curve(FLAT), (HOLES,)),
    "a prior that fits": Truth(SAMPLES, curve(FLAT)),
    "density beyond the floats": Truth(
        {"test_nll": None, "test_nll_not_finite": 3, "nll_gap": None, "nll_gap_se": None},
        curve(FLAT),
        (NOT_FINITE,),
    ),
    "diverged": Truth({"diverged": 300, "test_elbo": None}, curve(FLAT)),
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


@pytest.mark.parametrize(
    ("num", "correlation", "most"),
    [(4, 0.0, 0.05), (10, 0.0, 0.05), (10, 0.9, 0.1), (60, 0.9, 0.2)],
)
def test_a_flat_curve_hardly_ever_alarms(num, correlation, most):
    """Two hundred runs without any trend or gap; train and valid jitter as the error over examples.

    Two trends of 1 % and a difference beyond 2 errors, of 2.3 %, are asked for.
    """
    alarms = 0
    for seed in range(200):
        gap = np.random.default_rng((seed, num)).normal()
        valid, train = (jitter(0.5, 2 * seed + i, num, correlation) for i in range(2))
        truth = Truth({"nll_gap": gap, "train_nll": 9.0}, curve(valid, train=train))
        alarms += any(each.is_found for each in diagnosed(truth))
    assert alarms < 200 * most


@pytest.mark.parametrize("num", [10, 20, 60])
def test_a_valid_curve_past_its_peak_is_found(num):
    """It falls by 3 nats, 6 standard errors, while train rises."""
    found = 0
    for seed in range(50):
        t = np.arange(1, num + 1) / num
        valid = np.where(t < 0.35, -15 * (0.35 - t), -3 * (t - 0.35) / 0.65)
        truth = curve(valid + jitter(0.15, seed, num), train=5 * t + jitter(0.15, 99 + seed, num))
        found += {each.problem for each in diagnosed(Truth({}, truth)) if each.is_found} == {
            OVERFITTING
        }
    assert found >= 48


def page():
    """Return the page with the table of these runs, made of the lines that are between its rows."""
    text = DOCS.read_text(encoding="utf-8") + "\n"
    before, head, rest = text.partition("| run | problems |\n|---|---|\n")
    after = rest[rest.index("\n\n") :]
    rows = [f"| {name} | {', '.join(truth.problems)} |" for name, truth in TRUTHS.items()]
    return (before + head + "\n".join(rows) + after).removesuffix("\n")


def test_the_page_has_this_table():
    """``python -m tests.reporting.test_known_truths`` writes it."""
    assert DOCS.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    DOCS.write_text(page(), encoding="utf-8")
