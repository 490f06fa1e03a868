"""A diagnostic follows from its number, names it, and advises only what is not in force already."""

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from vae_jax.config.flags import FLAGS
from vae_jax.objectives import Elbo
from vae_jax.reporting import diagnostics, remedies

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


def diagnostic(problem, past=None, **changes):
    results = diagnostics.diagnose_run({**RUN, **changes}, history() if past is None else past)
    return next((result for result in results if result.problem == problem), None)


def found(problem, past=None, **changes):
    result = diagnostic(problem, past, **changes)
    assert result.is_found, result
    return result.message


def holds(message, *parts):
    """Assert that a message has the numbers, settings and remedies in this order."""
    assert re.search(".*".join(map(re.escape, parts)), message), message


def test_a_healthy_run_has_no_problem_and_names_what_was_not_checked():
    results = diagnostics.diagnose_run(RUN, history())
    assert not any(result.is_found for result in results)
    absent, unchecked = diagnostics.as_sentences(results)
    holds(absent, "posterior collapse (4 of 4", "overfitting", "2.00 nats", "8% of the KL")
    holds(unchecked, "prior holes", "--evaluate=samples")


def test_collapsed_latents_are_named_with_their_kl_and_since_when():
    past = history(active=(3, 4, 2, 2, 1, 2))
    message = found("posterior collapse", past, variance_per_latent=[0.9, 0.8, 0.001, 0.0099])
    holds(message, "z3, z4 (2 of 4)", "0.00 of 25.00 nats", "step 300", "--latent_size=2")
    holds(
        message, "--kl_warmup_steps, --kl_penalty=free_bits --free_bits=0.25, or a smaller --beta"
    )
    message = found("posterior collapse", variance_per_latent=[0.0] * 9, kl_per_latent=[0.0] * 9)
    holds(message, "z1, z2, z3, z4, z5, z6 and 3 others (9 of 9)", "ignores z")
    assert "--latent_size" not in message


def test_a_code_without_kl_can_collapse_too():
    changes = {"test_kl": None, "test_elbo": None, "test_log_likelihood": -9.0}
    message = found("posterior collapse", **changes, variance_per_latent=[1.0, 0.0])
    holds(message, "z2 (1 of 2)", "since step")
    assert "nats" not in message


@pytest.mark.parametrize(
    ("gap", "error", "is_found"),
    [(2.1, 1.0, True), (1.95, 1.0, False), (1.95, 0.1, True), (1.9, 0.1, False)],
)
def test_overfitting_is_a_gap_beyond_two_errors_and_two_percent(gap, error, is_found):
    result = diagnostic("overfitting", nll_gap=gap, nll_gap_se=error)
    assert result.is_found == is_found
    holds(result.message, f"{gap:.2f} ± {error:.2f} nats")


def test_a_valid_elbo_past_its_peak_is_overfitting():
    past = history([-120.0, -98.0, -98.4, -98.5, -98.6, -98.7])
    past = [row | {"valid_elbo_se": 0.3, "train_elbo": -97.0 + row["step"] / 400} for row in past]
    message = found("overfitting", past)
    holds(message, "0.70 nats since step 200", "fewer --num_steps, smaller --hidden_sizes, or more")
    falling = [row | {"train_elbo": -97.0 - row["step"] / 400} for row in past]
    for silent in (falling, [row | {"valid_elbo_se": 0.5} for row in past]):
        assert not diagnostic("overfitting", silent).is_found


def test_pixels_that_are_drawn_anew_are_advised_where_they_were_drawn_once():
    assert "--binarize=dynamic" in found("overfitting", nll_gap=9.0, binarize="static")
    assert "--binarize=dynamic" not in found("overfitting", nll_gap=9.0, binarize="dynamic")


def test_inference_is_poor_where_a_fifth_of_the_kl_is_lost():
    message = found("poor inference", test_nll=92.0)
    holds(
        message, "6.00 nats", "24%", "--posterior=iaf, --objective=iwae --num_particles=5, or wider"
    )
    message = found("poor inference", test_nll=92.0, posterior="iaf")
    holds(message, "Try --objective=iwae --num_particles=5, or wider --hidden_sizes")


def test_the_split_of_the_gap_decides_what_is_advised_first():
    errors = {"approximation_gap_se": 0.1, "amortization_gap_se": 0.1, "gap_examples": 100}
    low = {"test_nll": 92.0, **errors}
    message = found("poor inference", **low, approximation_gap=1.5, amortization_gap=4.5)
    holds(message, "first 100", "1.50 ± 0.10 nats", "family", "4.50 ± 0.10", "encoder")
    holds(
        message, "Try wider --hidden_sizes, --posterior=iaf, or --objective=iwae --num_particles=5"
    )
    message = found("poor inference", **low, approximation_gap=5.5, amortization_gap=1.5)
    holds(message, "Try --posterior=iaf, --objective=iwae --num_particles=5, or wider")


def test_prior_holes_are_samples_that_real_codes_do_not_lose():
    share = {"precision_pixels": 0.7, "precision_aggregate": 0.9}
    errors = {"precision_pixels_se": 0.01, "precision_aggregate_se": 0.01}
    mmd = {"mmd_pixels": 0.0036, "mmd_aggregate": 0.0004}
    message = found("prior holes", **share, **errors, **mmd, prior="vamp")
    holds(message, "70%", "from the prior", "90%", "real ones", "0.0036 against 0.0004")
    holds(message, "Try --prior=flow, or a larger --beta")
    wide = {name: 0.11 for name in errors}
    assert not diagnostic("prior holes", **share, **wide, **mmd).is_found


NAME = "estimates not to be trusted"


def test_a_wide_sandwich_is_not_to_be_trusted():
    message = found(NAME, bdmc_gap=5.88, bdmc_gap_se=0.69, ais_steps="100", ais_chains="4")
    holds(message, "AIS", "5.88 ± 0.69 nats", "--ais_steps (here 100)", "--ais_chains (here 4)")
    assert not diagnostic(NAME, bdmc_gap=0.9, ais_gain=-0.8).is_found


def test_doubts_about_the_weights_are_passed_on():
    message = found(NAME, test_nll_distrust="On 30% of the examples ...", test_ess_median=4.2)
    holds(message, "NLL", "On 30% of the examples ...")
    result = diagnostic(NAME, test_ess_median=41.6, eval_particles=100, test_nll_distrust="")
    assert not result.is_found
    holds(result.message, "42 of K = 100")


@pytest.mark.parametrize(
    ("gain", "examples"), [("ais_gain", "test examples"), ("bdmc_gain", "samples of the model")]
)
def test_an_nll_that_ais_exceeds_is_not_to_be_trusted(gain, examples):
    error = {f"{gain}_se": 0.2}
    message = found(NAME, **{gain: 1.2}, **error, eval_particles=100)
    holds(message, "NLL", "1.20 ± 0.20 nats", "K = 5,000", examples, "--eval_particles (here 100)")
    assert not diagnostic(NAME, **{gain: 0.1}, **error, eval_particles=100).is_found
    assert not diagnostic(NAME, **{gain: 1.2}, **error, eval_particles=9000).is_found


def test_ais_below_another_bound_is_not_to_be_trusted():
    error = {"ais_gain_se": 1.7, "ais_steps": "100", "ais_chains": "4"}
    message = found(NAME, ais_gain=-14.0, **error)
    holds(message, "AIS", "14.00 ± 1.70 nats below the bound with K = 5,000", "--ais_steps")
    assert "Do not trust the NLL" not in message


@pytest.mark.parametrize(("count", "examples"), [(1, "1 example)"), (1200, "1,200 examples)")])
def test_columns_that_are_not_finite_are_named_with_their_examples(count, examples):
    message = found("numbers that are not finite", test_nll_not_finite=count)
    holds(message, f"test_nll (on {examples}", "--compute_dtype=float64")
    assert diagnostic("numbers that are not finite", valid_elbo_not_finite=count) is None


def test_absurd_numbers_are_short():
    message = found("overfitting", nll_gap=1e25, nll_gap_se=1e24)
    holds(message, "1.00e+25 ± 1.00e+24 nats")
    assert len(found("poor inference", test_elbo=-1e25)) < 250


def test_learning_that_rises_is_not_finished():
    past = history([-120.0, -110.0, -105.0, -103.0, -102.0, -101.0])
    holds(found("unfinished learning", past), "last 300 steps", "+3.90 ± 0.52 nats", "--num_steps")
    for few in (history(ELBOS[:2], (4, 4)), []):
        result = diagnostic("unfinished learning", few)
        assert result.is_found is None
        holds(result.message, "needs 3 evaluations", "--eval_every")


def test_learning_under_a_schedule_is_not_judged_by_its_end():
    past = history([-120.0, -110.0, -105.0, -103.0, -102.0, -101.0])
    result = diagnostic("unfinished learning", past, schedule="cosine")
    assert result.is_found is None
    holds(result.message, "--schedule=cosine", "--num_steps")


@pytest.mark.parametrize("name", ["kl_warmup_steps", "capacity_steps", "warmup_steps"])
def test_a_run_that_ends_within_a_warm_up_is_not_finished(name):
    holds(found("unfinished learning", **{name: 900}), "step 600", f"--{name}=900")
    assert diagnostic("unfinished learning", **{name: 600}).is_found is not True


def test_what_is_in_force_or_has_no_effect_is_not_advised():
    low = {"variance_per_latent": [0.9, 0.0]}
    message = found("posterior collapse", **low, kl_warmup_steps=500, objective="iwae")
    holds(message, "to use more, try a smaller --beta")
    assert "--kl" not in message
    code = {"test_elbo": None, "test_kl": None, "test_log_likelihood": -9.0}
    assert "try" not in found("posterior collapse", **low, **code, posterior="delta")
    assert "--hidden_sizes" not in found("overfitting", nll_gap=9.0, hidden_sizes="")


def test_other_bounds_of_q_are_named_where_the_elbo_is_not_trained():
    for changes, words in (
        ({"beta": 8.0}, ("beta = 8", "p(x|z)^(1/beta)")),
        ({"beta": 0.0}, ("beta = 0",)),
        ({"objective": "iwae"}, ("--objective=iwae",)),
        ({"tc_weight": 6.0}, ("--tc_weight=6",)),
    ):
        result = diagnostic("poor inference", test_nll=80.0, **changes)
        assert result.is_found is False
        holds(result.message, "18.00 nats", *words)


def test_a_borderline_gap_needs_its_error():
    assert found("poor inference", test_nll=92.5, test_bound_gain_se=0.2)
    result = diagnostic("poor inference", test_nll=92.5, test_bound_gain_se=0.3)
    assert not result.is_found
    holds(result.message, "5.50 ± 0.30 nats")


def test_test_better_than_train_is_said_so():
    holds(diagnostic("overfitting", nll_gap=-8.72).message, "8.72 ± 1.00 nats below that of train")


def test_loose_bounds_are_named_where_they_are_compared():
    message = found("overfitting", nll_gap=183.0, test_ess_low_share=0.9)
    holds(message, "183.00", "encoder", "--eval_particles")
    assert "encoder" not in found("overfitting", nll_gap=183.0, test_ess_low_share=0.0)


def test_the_bounds_that_are_compared_may_be_loose_where_those_of_the_nll_are_not():
    own = {"nll_gap": 20.0, "test_ess_low_share": 0.0, "eval_particles": 5000}
    message = found("overfitting", **own, test_ess_median=90.0)
    holds(message, "K = 100, which are loose", "encoder")
    assert "encoder" not in found("overfitting", **own, test_ess_median=4000.0)
    few = found("overfitting", nll_gap=20.0, test_ess_low_share=0.9, eval_particles=20)
    holds(few, "more --eval_particles (here 20)")
    many = found("overfitting", nll_gap=20.0, test_ess_low_share=0.9, eval_particles=5000)
    assert "--eval_particles" not in many  # train and test stay at K = 100


def test_a_single_importance_weight_is_said_not_to_be_checked():
    own = {"eval_particles": 1, "test_nll": 98.1, "test_ess_median": None}
    for name in ("poor inference", NAME):
        result = diagnostic(name, **own)
        assert result.is_found is None
        holds(result.message, "more --eval_particles (here 1)")


def test_a_single_test_example_has_no_error_to_judge_by():
    own = {"test_log_likelihood": -70.0, "test_log_likelihood_se": None}
    own |= {"test_bound_gain_se": None, "test_nll": 60.0, "nll_gap_se": None}
    for name in ("posterior collapse", "poor inference", "overfitting"):
        result = diagnostic(name, **own, variance_per_latent=[0.0, 0.0])
        assert result.is_found is None
        holds(result.message, "2 test examples")
    assert not diagnostic(NAME, ais_gain=5.0, ais_gain_se=None, eval_particles=100).is_found


def test_a_bound_below_the_elbo_is_not_called_a_gap_of_at_least_so_much():
    message = diagnostic("poor inference", test_nll=98.03, test_bound_gain_se=0.05).message
    holds(message, "0.03 ± 0.05 nats below the ELBO", "noise")


def test_advice_on_the_weights_names_ais_only_where_it_was_not_run():
    text = "On 30% of the examples ...; raise --eval_particles or compare with AIS."
    own = {"test_nll_distrust": text, "eval_particles": 100}
    holds(found(NAME, **own), "(here 100), or --evaluate=nll,ais.")
    holds(found(NAME, **own, evaluate="nll,gaps"), "--evaluate=nll,gaps,ais")
    assert "ais" not in found(NAME, **own, evaluate="nll,ais")


def test_a_run_that_patience_stopped_is_not_advised_more_updates():
    past = history([-120.0, -110.0, -105.0, -103.0, -102.0, -101.0])
    for changes in ({}, {"schedule": "cosine"}, {"kl_warmup_steps": 900}):
        message = found("unfinished learning", past, stopped=600, patience=2, **changes)
        holds(message, "Try more --patience")
        assert "--num_steps" not in message


def test_since_when_latents_are_collapsed_is_of_the_weights_that_are_kept():
    past = history(active=(4, 2, 2, 2, 1, 0))
    low = {"variance_per_latent": [0.9, 0.8, 0.0, 0.0]}
    holds(found("posterior collapse", past, **low, best_step=400), "since step 200")
    holds(found("posterior collapse", past, **low), "since step 600")


def test_a_narrow_code_that_varies_little_is_not_collapsed():
    low = {"variance_per_latent": [0.005, 0.0, 0.9, 0.9]}
    message = found("posterior collapse", **low, kl_per_latent=[4.0, 4.0, 8.0, 8.0])
    holds(message, "codes z2 (1 of 4)")  # what does not vary at all carries nothing
    result = diagnostic("posterior collapse", variance_per_latent=[0.005], kl_per_latent=[4.0])
    assert result.is_found is False
    holds(result.message, "1 of them in a narrow range")


def test_an_interval_of_evaluations_is_advised_that_gives_a_trend():
    past = [{"step": 200, "valid_elbo": -98.0}]
    holds(diagnostic("unfinished learning", past, eval_every=500).message, "--eval_every=20")
    late = diagnostic("unfinished learning", past, eval_every=500, kl_warmup_steps=150).message
    holds(late, "after all warm-ups", "--eval_every=5")


def test_beta_may_make_up_for_a_scale():
    own = IMAGES | {"test_log_likelihood": _gaussian_log_likelihood(1.0, 0.2), "beta": 0.04}
    message = found("a scale that does not fit", **own)
    holds(message, "beta = 0.04", "as with the scale 0.2, which fits")
    holds(found("a scale that does not fit", **own | {"beta": 1e-4}), "too little")
    assert "KL" not in found("a scale that does not fit", **own | {"test_kl": None})


def test_the_density_of_another_unit_of_x_gives_the_same_verdict():
    """x times c adds D ln c to each NLL and changes no difference."""
    for gap, is_found in ((2.0, False), (9.0, True)):
        for shift in (0.0, -95.5, 784 * np.log(1e3), -784 * np.log(1e3)):
            own = IMAGES | {"scale_mode": "learned", "nll_gap": gap, "nll_gap_se": 0.1}
            result = diagnostic("overfitting", **own, train_nll=95.5 + shift)
            assert result.is_found == is_found


IMAGES = {"likelihood": "gaussian", "scale_mode": "fixed", "scale": 1.0, "num_values": 784}


def _gaussian_log_likelihood(scale, deviation):
    square = (deviation / scale) ** 2
    return -784 / 2 * (np.log(2 * np.pi * scale**2) + square)


def test_a_fixed_scale_that_does_not_fit_is_named_with_the_one_that_does():
    own = IMAGES | {"test_log_likelihood": _gaussian_log_likelihood(1.0, 0.2)}
    message = found("a scale that does not fit", **own)
    lost = 784 * (np.log(5) + 0.02 - 0.5)
    holds(message, "fixed scale 1", "0.2", f"{lost:.2f} nats", "mean images")
    holds(message, "--scale_mode=optimal", "--scale_mode=learned", "--scale=0.2")
    message = found("posterior collapse", **own, variance_per_latent=[0.9, 0.0])
    holds(message, "try --scale_mode=optimal")
    small = IMAGES | {"scale": 0.05, "test_log_likelihood": _gaussian_log_likelihood(0.05, 0.2)}
    holds(found("a scale that does not fit", **small), "too little")


@pytest.mark.parametrize("changes", [{"scale": 0.25}, {"scale_mode": "learned"}, {"scale": 0.15}])
def test_a_scale_that_fits_or_is_learned_is_none(changes):
    own = IMAGES | changes
    own |= {"test_log_likelihood": _gaussian_log_likelihood(own["scale"], 0.2)}
    assert diagnostic("a scale that does not fit", **own) is None


def test_a_diverged_run_has_no_diagnostics():
    assert diagnostics.diagnose_run({**RUN, "diverged": 3}, history()) == []
    assert diagnostics.as_sentences([]) == []


@pytest.mark.parametrize("name", [name for name in RUN if name != "run"])
def test_any_number_may_be_missing(name):
    left = {key: value for key, value in RUN.items() if key != name}
    for run in (left, {**RUN, name: None}):
        text = " ".join(diagnostics.as_sentences(diagnostics.diagnose_run(run, [])))
        assert "None" not in text
        assert "nan" not in text


def test_a_study_counts_the_runs_that_were_checked():
    bad = {**RUN, "nll_gap": 9.0}
    runs = [{**run, "run": i} for i, run in enumerate([RUN, bad, bad, {**RUN, "diverged": 1}])]
    own = [diagnostics.diagnose_run(run, history()) for run in runs]
    (sentence,) = diagnostics.diagnose_study(runs, own)
    holds(sentence, "Overfitting", "2 of 3 runs (1, 2)")


def test_every_flag_that_is_advised_exists():
    source = inspect_source()
    advised = set(re.findall(r"--([a-z_]+)", source)) - {"evaluate"}
    assert advised
    assert advised <= FLAGS.keys()


def inspect_source() -> str:
    with open(diagnostics.__file__, encoding="utf-8") as file:
        return file.read()


OUTSIDE = "tests.models.test_latents_of_other_kinds:Circle"


def test_the_traits_of_members_from_outside_decide_too():
    """Latents of a circle are no coordinates, of which single ones could collapse."""
    still = {"variance_per_latent": [0.9, 0.0], "prior": "normal"}
    assert diagnostic("posterior collapse", **still, posterior=OUTSIDE) is None
    unknown = diagnostic("posterior collapse", **still, posterior="no_such_module:Mine")
    assert unknown is not None
    assert unknown.is_found
    assert remedies.objective_of({"objective": f"{__name__}:Bound"}) is Bound


@dataclass(frozen=True)
class Bound(Elbo):
    is_elbo: ClassVar[bool] = True


def test_an_elbo_from_outside_is_an_elbo():
    assert found("poor inference", test_nll=80.0, objective=f"{__name__}:Bound")
