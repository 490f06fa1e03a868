"""Combinations of flags: what is refused, and that what is written down gives the same config."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config.messages import Message, result_or_message
from vae_jax.config.command_line import parse
from vae_jax.config.flags import Config
from vae_jax.config.validation import as_flags
from vae_jax.pipeline.results import notes_on_free_bits
from vae_jax.runtime.errors import InputError


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--objective=iwae", "--free_bits=1"],
            "--free_bits=1: has no effect with --objective=iwae; leave it out",
        ),
        (
            ["--likelihood=gaussian", "--scale_mode=optimal", "--scale=0.5"],
            "--scale=0.5: has no effect with --scale_mode=optimal; leave it out",
        ),
        (
            ["--channels=8"],
            "--channels=8: has no effect with --network=mlp; leave it out",
        ),
        (
            ["--hidden_sizes=", "--activation=tanh"],
            "--activation=tanh: has no effect without --hidden_sizes; leave it out",
        ),
        (
            ["--num_steps=33554432", "--batch_size=64"],
            "--num_steps=33554432: times --batch_size=64 exceeds 2^31 examples; "
            "give at most 33554431 steps",
        ),
        (
            ["--network=conv", "--hidden_sizes="],
            "--hidden_sizes=: must be whole numbers of at least 1, separated by commas",
        ),
    ],
)
def test_a_combination_that_makes_no_sense_is_refused_in_one_line(argv, message):
    with pytest.raises(InputError) as caught:
        parse(argv)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("argv", "setting", "remedy"),
    [
        (["--top_latent_size=2", "--posterior=iaf"], "top_latent_size=2", "leave one of them out"),
        (["--estimator=stl", "--kl=analytic"], "estimator=stl", "give --kl=monte_carlo"),
        (["--estimator=dreg"], "estimator=dreg", "give --estimator=stl"),
        (["--kl_penalty=free_bits", "--estimator=stl"], "estimator=stl", "leave one of them out"),
        (["--kl_penalty=free_bits", "--kl=monte_carlo"], "kl=monte_carlo", "leave one of them"),
        (["--objective=iwae", "--num_bounds=2"], "num_bounds=2", "give --objective=miwae"),
        (["--objective=iwae", "--estimator=dreg"], "estimator=dreg", "give more particles"),
        (["--objective=iwae", "--posterior=delta"], "objective=iwae", "leave it out"),
        (["--kl=analytic", "--posterior=iaf"], "kl=analytic", "give --kl=auto"),
        (["--batch_devices=3"], "batch_devices=3", "give a divisor"),
        (["--tc_weight=6", "--batch_size=1"], "tc_weight=6", "--batch_size of at least 2"),
        (["--tc_weight=6", "--posterior=iaf"], "tc_weight=6", "leave one of them out"),
        (["--data_on_device=no", "--binarize=static"], "data_on_device=no", "leave one of them"),
    ],
)
def test_values_that_exclude_each_other_are_named_with_a_remedy(argv, setting, remedy):
    with pytest.raises(InputError) as caught:
        parse(argv)
    assert str(caught.value).startswith(f"--{setting}: ")
    assert remedy in str(caught.value).partition("; ")[2]


ON_A_SPHERE = "--posterior=von_mises_fisher --prior=uniform_sphere"  # whose KL is no sum


@pytest.mark.parametrize(
    "more", ["--prior=vamp", "--posterior=iaf", "--top_latent_size=2", ON_A_SPHERE]
)
def test_free_bits_of_a_sampled_kl_may_be_sampled(more):
    config = parse(["--kl_penalty=free_bits", "--kl=monte_carlo", *more.split()])
    assert config.kl == "monte_carlo"
    (note,) = notes_on_free_bits(config)
    assert "is a floor of the total KL" in note


def test_the_longest_run_that_is_allowed_is_allowed():
    assert parse(["--num_steps=33554431", "--batch_size=64"]).num_steps == 33554431


# Flags as a run writes them.

CONFIGS = [
    [],
    ["--network=conv", "--channels=4,8", "--activation=silu"],
    ["--hidden_sizes=", "--learning_rate=3e-05", "--clip_norm=1.5", "--beta=0.1"],
    ["--dataset=my images/#1.npz", "--workdir=runs/ä", "--schedule=cosine"],
]


def _round_trip(config: Config, folder: Path) -> Config:
    path = folder / "flags.txt"
    lines = [f"--{name}={value}\n" for name, value in as_flags(config).items()]
    path.write_text("".join(lines), encoding="utf-8")
    return parse([f"--flagfile={path}"])


@pytest.mark.parametrize("argv", CONFIGS, ids=str)
def test_flags_written_down_give_the_same_config(argv, tmp_path):
    config = parse(argv)
    assert _round_trip(config, tmp_path) == config


@settings(deadline=None, max_examples=50)
@given(beta=st.floats(0, 1e38), seed=st.integers(0, 2**31 - 1), dataset=st.text(min_size=1))
def test_any_value_that_is_taken_survives_being_written_down(tmp_path_factory, beta, seed, dataset):
    config = result_or_message(parse, [f"--beta={beta}", f"--seed={seed}", f"--dataset={dataset}"])
    if isinstance(config, Message):
        assert config.startswith("--dataset=")
    else:
        assert config.beta == beta
        assert _round_trip(config, tmp_path_factory.mktemp("flags")) == config
