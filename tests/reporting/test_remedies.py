"""What diagnostics advise, the command line accepts beside a run's own flags, and it changes it."""

import functools
import itertools
import re

import pytest

from vae_jax.config import command_line
from vae_jax.config.validation import as_flags, check_combination, is_accepted
from vae_jax.pipeline.results import settings_of
from vae_jax.reporting import conclusions, remedies

SICK = {
    "run": 0,
    "step": 5000,
    "diverged": "",
    "test_elbo": -98.0,
    "test_kl": 9.0,
    "test_log_likelihood": -738.0,
    "test_nll": 80.0,
    "test_bound_gain_se": 0.1,
    "test_ess_median": 1.5,
    "test_ess_low_share": 1.0,
    "test_nll_distrust": "On 100% of the examples the bound ...; raise --eval_particles or ...",
    "variance_per_latent": [0.9, 0.0, 0.0],
    "kl_per_latent": [9.0, 0.0, 0.0],
    "train_nll": 60.0,
    "nll_gap": 20.0,
    "nll_gap_se": 1.0,
    "precision_pixels": 0.2,
    "precision_pixels_se": 0.01,
    "precision_aggregate": 0.9,
    "precision_aggregate_se": 0.01,
    "ais_gain": -9.0,
    "ais_gain_se": 0.1,
    "test_recall_not_finite": 3,
}
"""A run with every problem that there is."""
RISING = [
    {"run": 0, "step": 500 * i, "valid_elbo": -200.0 + 5 * i, "valid_elbo_se": 1.0}
    | {"valid_log_likelihood": -150.0 + 5 * i, "valid_kl": 9.0, "train_elbo": -98.0}
    for i in range(1, 11)
]
FALLING = [row | {"valid_elbo": -100.0 - 5 * i} for i, row in enumerate(RISING)]
OWN = {
    "default": "",
    "capacity": "--kl_penalty=capacity --capacity=9",
    "free bits": "--kl_penalty=free_bits --free_bits=1",
    "warm-up": "--kl_warmup_steps=3000",
    "beta 0": "--beta=0",
    "beta 4": "--beta=4",
    "total correlation": "--tc_weight=6",
    "mmd": "--posterior=delta --mmd_weight=10",
    "plain autoencoder": "--posterior=delta",
    "iwae": "--objective=iwae --num_particles=5",
    "dreg": "--objective=miwae --num_particles=5 --estimator=dreg --num_bounds=2",
    "monte carlo": "--kl=monte_carlo",
    "analytic": "--kl=analytic",
    "stl": "--estimator=stl",
    "gaps": "--evaluate=nll,gaps",
    "ais": "--evaluate=nll,ais,bdmc --ais_steps=50",
    "gaussian": "--likelihood=gaussian",
    "gaussian, own scale": "--likelihood=gaussian --scale=30",
    "gaussian, learned": "--likelihood=gaussian --scale_mode=learned",
    "gaussian, optimal": "--likelihood=gaussian --scale_mode=optimal",
    "laplace": "--likelihood=laplace --scale=2",
    "student": "--likelihood=student_t",
    "sphere": "--posterior=von_mises_fisher --prior=uniform_sphere",
    "grid": "--posterior=fsq --prior=uniform_grid",
    "flow": "--posterior=iaf",
    "vamp": "--prior=vamp",
    "two layers": "--top_latent_size=3",
    "labels": "--conditional --prior=class_normal",
    "linear": "--hidden_sizes=",
    "conv": "--network=conv",
    "best": "--keep=best",
    "patience": "--patience=2",
    "cosine": "--schedule=cosine",
    "static": "--binarize=static",
    "long": "--num_steps=100000000 --batch_size=20",
}


HISTORIES = {"rising": RISING, "falling": FALLING, "one look": RISING[:1]}


@functools.cache
def concluded(own, curve):
    """Return the row of a sick run with these flags, and what its report says."""
    config = command_line.parse(own.split())
    check_combination(config)
    facts = {"event_shape": (28, 28, 1), "encoding": "pixels"}
    row = settings_of(config, []) | SICK | {"eval_particles": config.eval_particles}
    found = {"runs": [row], "flags": as_flags(config), "dataset": facts, "swept": []}
    found |= conclusions.conclude(found, HISTORIES[curve], is_accepted)
    return row | found["flags"], found["diagnosis"][0]


def advised(sentences):
    """Return the single remedies of sentences, as "--prior=vamp" or "a smaller --beta"."""
    for sentence in sentences:
        for tail in re.findall(r"(?:\. T| t|; t|To use more, t)ry (.*?)\.(?= |$)", sentence):
            yield from (each.removeprefix("or ") for each in tail.split(", "))
        yield from re.findall(r"--latent_size=\d+|--eval_every=\d+|--evaluate=[a-z,]+", sentence)


@functools.cache
def check(own, changes):
    """Refuse flags with some changed, as the command line does."""
    names = {name for name, _ in changes}
    kept = [each for each in own.split() if each[2:].partition("=")[0] not in names]
    new = [f"--{name}={value}" for name, value in changes if value is not None]
    check_combination(command_line.parse([*kept, *new]))


@pytest.mark.parametrize("name", OWN)
def test_every_remedy_is_accepted_beside_the_flags_of_the_run(name):
    for curve in HISTORIES:
        run, sentences = concluded(OWN[name], curve)
        named = [each for each in advised(sentences) if "--" in each]
        assert named
        for remedy in named:
            check(OWN[name], tuple(remedies.changes_of(run, remedy).items()))
            written = re.findall(r"--(\w+)=(\S+)", remedy)
            assert any(str(run.get(key)) != value for key, value in written) or not written, remedy


@pytest.mark.parametrize("name", OWN)
def test_the_remedies_of_a_report_do_not_contradict_each_other(name):
    for curve in HISTORIES:
        named = list(advised(concluded(OWN[name], curve)[1]))
        for less, more in itertools.product(("smaller", "fewer"), ("larger", "wider", "more")):
            flags = (
                {flag for each in named if word in each for flag in re.findall(r"--\w+", each)}
                for word in (less, more)
            )
            assert not set.intersection(*flags), named


@pytest.mark.parametrize(
    ("own", "remedy"),
    [
        ("--prior=vamp", "--prior=vamp"),
        ("--scale_mode=optimal --likelihood=gaussian", "a larger --scale"),
        ("", "a larger --scale"),
        ("--hidden_sizes=", "wider --hidden_sizes"),
        ("--posterior=delta", "--kl_warmup_steps=9"),
        ("--kl=analytic", "--prior=vamp"),
        ("--evaluate=nll,gaps", "--posterior=iaf"),
        ("--tc_weight=6", "--posterior=iaf"),
        ("--kl=monte_carlo", "--objective=iwae --num_particles=5"),
        ("--eval_every=300 --num_steps=1000", "--keep=best"),
    ],
)
def test_what_is_in_force_or_would_be_refused_is_not_open(own, remedy):
    run = as_flags(command_line.parse(own.split()))
    run |= {remedies.IS_ACCEPTED: functools.partial(is_accepted, run)}
    assert not remedies.is_open(run, remedy)
    assert remedies.advise(run, remedy) == ""


def test_of_flags_that_are_not_known_here_nothing_is_refused():
    assert is_accepted({"posterior": "nowhere.to_be_found:Posterior"}, {"prior": "vamp"})


def test_a_setting_that_a_remedy_idles_is_left_out_with_it():
    own = as_flags(command_line.parse(["--likelihood=gaussian", "--scale=0.5"]))
    run = own | {remedies.IS_ACCEPTED: functools.partial(is_accepted, own)}
    assert not remedies.is_open(run, "--scale_mode=optimal")
    assert remedies.is_open(run, "--scale_mode=optimal (without --scale)")
