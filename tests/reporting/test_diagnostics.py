"""A verdict follows from its number, names it, and advises only what is not in force already."""

import re

import numpy as np
import pytest

from vae_jax.config.schema import FIELDS
from vae_jax.reporting import diagnostics

RUN = {
    "run": 0,
    "beta": 1.0,
    "diverged": "",
    "posterior": "gaussian",
    "prior": "normal",
    "objective": "elbo",
    "kl_penalty": "beta",
    "binarize": "none",
    "test_elbo": -98.0,
    "test_kl": 25.0,
    "test_nll": 96.0,
    "kl_per_latent": [12.0, 13.0, 0.001, 0.002],
    "variance_per_latent": [0.9, 0.8, 0.5, 0.4],
    "nll_gap": 0.5,
    "nll_gap_se": 1.0,
    "train_nll": 95.5,
}
ELBOS = [-120.0, -110.0, -100.0, -99.99, -100.01, -100.0]


def history(elbos=ELBOS, active=(4, 4, 4, 4, 4, 4)):
    return [
        {"step": 100 * i, "valid_elbo": elbo, "valid_active_units": count}
        for i, (elbo, count) in enumerate(zip(elbos, active, strict=True), 1)
    ]


def verdict(problem, past=None, **changes):
    answers = diagnostics.diagnose_run({**RUN, **changes}, history() if past is None else past)
    return next((answer for answer in answers if answer.problem == problem), None)


def found(problem, past=None, **changes):
    answer = verdict(problem, past, **changes)
    assert answer.is_found, answer
    return answer.words


def test_a_healthy_run_has_no_problem_and_says_what_was_not_looked_at():
    answers = diagnostics.diagnose_run(RUN, history())
    assert not any(answer.is_found for answer in answers)
    calm, missing = diagnostics.as_sentences(answers)
    assert calm.startswith("Not found: posterior collapse (4 of 4 latents are active); overfitting")
    assert "2.00 nats below log p(x), 8% of the KL" in calm
    assert missing == ("Not examined: prior holes (--evaluate=samples).")


def test_collapsed_latents_are_named_with_their_kl_and_since_when():
    past = history(active=(3, 4, 2, 2, 1, 2))
    words = found("posterior collapse", past, variance_per_latent=[0.9, 0.8, 0.001, 0.0099])
    assert words == (
        "Posterior collapse: the codes z3, z4 (2 of 4) hardly depend on the image and carry 0.00 "
        "of 25.00 nats, since step 300 at the latest on valid. --latent_size=2 loses little; to "
        "use more, try --kl_warmup_steps, --kl_penalty=free_bits, or a smaller --beta."
    )
    many = found("posterior collapse", variance_per_latent=[0.0] * 9, kl_per_latent=[0.0] * 9)
    assert "z1, z2, z3, z4, z5, z6 and 3 others (9 of 9)" in many
    assert "The decoder ignores z altogether" in many


def test_a_code_without_kl_can_collapse_too():
    words = found("posterior collapse", test_kl=None, test_elbo=None, test_log_likelihood=-9.0,
                  variance_per_latent=[1.0, 0.0])  # fmt: skip
    assert "the codes z2 (1 of 2) hardly depend on the image, since" in words


@pytest.mark.parametrize(
    ("gap", "error", "is_found"),
    [(2.1, 1.0, True), (1.95, 1.0, False), (1.95, 0.1, True), (1.9, 0.1, False)],
)
def test_overfitting_is_a_gap_beyond_two_errors_and_two_percent(gap, error, is_found):
    answer = verdict("overfitting", nll_gap=gap, nll_gap_se=error)
    assert answer.is_found == is_found
    assert f"{gap:.2f} ± {error:.2f} nats above that of train" in answer.words


def test_a_valid_elbo_past_its_peak_is_overfitting():
    words = found("overfitting", history([-120.0, -98.0, -98.4, -98.5, -98.6, -98.7]))
    assert "the valid ELBO has fallen by 0.70 nats since step 200" in words
    assert "Try fewer --num_steps, smaller --hidden_sizes, or more data." in words


def test_pixels_that_are_drawn_anew_are_advised_where_they_were_drawn_once():
    assert "--binarize=dynamic" in found("overfitting", nll_gap=9.0, binarize="static")
    assert "--binarize=dynamic" not in found("overfitting", nll_gap=9.0, binarize="dynamic")


def test_inference_is_poor_where_a_fifth_of_the_kl_is_lost():
    words = found("poor inference", test_nll=92.0)
    assert "6.00 nats below log p(x), 24% of the KL" in words
    assert "Try --posterior=iaf, --objective=iwae, or wider" in words
    words = found("poor inference", test_nll=92.0, posterior="iaf")
    assert "Try --objective=iwae, or wider --hidden_sizes." in words


def test_the_split_of_the_gap_decides_what_is_advised_first():
    gap = {"approximation_gap_se": 0.1, "amortization_gap_se": 0.1, "gap_examples": 100}
    low = {"test_nll": 92.0, **gap}
    words = found("poor inference", **low, approximation_gap=1.5, amortization_gap=4.5)
    assert words == (
        "Poor inference: the ELBO is at least 6.00 nats below log p(x), 24% of the KL; on the "
        "first 100 test examples 1.50 ± 0.10 nats are the family's and 4.50 ± 0.10 the encoder's. "
        "Try wider --hidden_sizes, --posterior=iaf, or --objective=iwae."
    )
    words = found("poor inference", **low, approximation_gap=5.5, amortization_gap=1.5)
    assert "Try --posterior=iaf, --objective=iwae, or wider --hidden_sizes." in words


def test_prior_holes_are_samples_that_real_codes_do_not_lose():
    share = {"precision_pixels": 0.7, "precision_aggregate": 0.9}
    errors = {"precision_pixels_se": 0.01, "precision_aggregate_se": 0.01}
    mmd = {"mmd_pixels": 0.0036, "mmd_aggregate": 0.0004}
    words = found("prior holes", **share, **errors, **mmd, prior="vamp")
    assert "70% of samples with z from the prior" in words
    assert "90% of those with z of real images; MMD 0.0036 against 0.0004" in words
    assert "Try --prior=flow, or a larger --beta." in words
    wide = {name: 0.11 for name in errors}
    assert not verdict("prior holes", **share, **wide, **mmd).is_found


def test_a_wide_sandwich_is_not_to_be_trusted():
    name = "estimates not to be trusted"
    words = found(name, bdmc_gap=5.88, bdmc_gap_se=0.69, ais_steps="100", ais_chains="4")
    assert words == (
        "Do not trust AIS at these settings: BDMC's bounds are 5.88 ± 0.69 nats apart. Try more "
        "--ais_steps (here 100), or more --ais_chains (here 4)."
    )
    words = found(name, test_nll_distrust="On 30% of the examples ...", test_ess_median=4.2)
    assert words == "Do not trust the NLL: On 30% of the examples ..."
    calm = verdict(name, test_ess_median=41.6, eval_particles=100, test_nll_distrust="")
    assert calm.words == "in the median 42 of K = 100 weights count"
    words = found(name, ais_gain=3.0, ais_gain_se=0.5, eval_particles=100)
    assert words.startswith("Do not trust the NLL: AIS is 3.00 ± 0.50 nats above")
    assert words.endswith("Try more --eval_particles (here 100).")
    assert not verdict(name, bdmc_gap=0.9, ais_gain=-2.0).is_found
    words = found(name, bdmc_gain=1.2, bdmc_gain_se=0.2, eval_particles=100)
    assert "AIS is 1.20 ± 0.20 nats above the bound with K = 5,000 on samples of the model" in words
    assert not verdict(name, bdmc_gain=0.1, bdmc_gain_se=0.01, eval_particles=100).is_found
    assert not verdict(name, bdmc_gain=1.2, bdmc_gain_se=0.2, eval_particles=9000).is_found


def test_learning_that_rises_is_not_finished():
    words = found("unfinished learning", history([-120.0, -110.0, -105.0, -103.0, -102.0, -101.0]))
    assert "over the last 200 steps the valid ELBO changed by +2.00 ± 0.00 nats" in words
    assert verdict("unfinished learning", history(ELBOS[:2], (4, 4))) is None


def test_the_slope_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    x = np.arange(12.0) * 500
    y = 3e-3 * x + rng.normal(size=12)
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    assert diagnostics._slope(x, y) == pytest.approx((slope, np.sqrt(covariance[0, 0])), rel=1e-9)


def test_a_diverged_run_has_no_verdicts():
    assert diagnostics.diagnose_run({**RUN, "diverged": 3}, history()) == []
    assert diagnostics.as_sentences([]) == []


@pytest.mark.parametrize("name", [name for name in RUN if name != "run"])
def test_any_number_may_be_missing(name):
    left = {key: value for key, value in RUN.items() if key != name}
    for run in (left, {**RUN, name: None}):
        words = " ".join(diagnostics.as_sentences(diagnostics.diagnose_run(run, [])))
        assert "None" not in words
        assert "nan" not in words


def test_a_study_tells_in_how_many_runs():
    bad = {**RUN, "nll_gap": 9.0}
    runs = [{**run, "run": i} for i, run in enumerate([RUN, bad, bad, {**RUN, "diverged": 1}])]
    answers = [diagnostics.diagnose_run(run, history()) for run in runs]
    assert diagnostics.diagnose_study(runs, answers) == ["Overfitting: in 2 of 3 runs (1, 2)."]


def test_every_flag_that_is_advised_exists():
    source = inspect_source()
    advised = set(re.findall(r"--([a-z_]+)", source)) - {"evaluate"}
    assert advised
    assert advised <= FIELDS.keys()


def inspect_source() -> str:
    with open(diagnostics.__file__, encoding="utf-8") as file:
        return file.read()
