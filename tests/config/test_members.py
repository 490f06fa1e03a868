"""Flags of members: a hyperparameter that is declared once, outside of the package, is a flag."""

import inspect
from dataclasses import dataclass
from typing import ClassVar

import pytest

import vae_jax
from vae_jax.config import build, command_line, sweeps
from vae_jax.config.command_line import parse
from vae_jax.config.flags import FLAGS, Config, help_text
from vae_jax.config.members import KINDS
from vae_jax.config.validation import as_flags, without_effect
from vae_jax.hparams import HParam
from vae_jax.models.likelihoods import GaussianLikelihood
from vae_jax.models.networks import MLP
from vae_jax.objectives.regularizers import REGULARIZERS
from vae_jax.pipeline import results
from vae_jax.pipeline.study import Study
from vae_jax.pipeline.trained_run import TrainedRun
from vae_jax.runtime.errors import InputError
from vae_jax.settings import real, setting, whole


@dataclass(frozen=True)
class Heavy(GaussianLikelihood):
    """Member from outside: one declaration each, here and nowhere else."""

    num_modes: int = setting(3, whole(1, 9), "modes of each pixel")

    hparams: ClassVar[tuple[HParam, ...]] = (
        HParam("scale", 0.5, real(0.0), "scale of p(x|z), which may be none"),
        HParam("degrees", 5.0, real(2.0), "degrees of freedom", unit="degrees"),
    )


HEAVY = f"{__name__}:Heavy"
CHOSEN = f"--likelihood={HEAVY}"


def test_its_declarations_are_flags_with_help_range_and_default():
    config = parse([CHOSEN, "--degrees", "7", "--num_modes=2"])
    assert (config.degrees, config.num_modes, config.scale) == (7.0, 2, 0.5)
    assert as_flags(config)["degrees"] == "7.0"
    names = [*config.flags]
    after = names[names.index("num_logistics") + 1 :]
    assert after[: after.index("posterior")][-2:] == ["num_modes", "degrees"]
    assert [name for name in names if name not in ("num_modes", "degrees")] == [*FLAGS]
    assert "--degrees=5.0\n      degrees of freedom; a finite number of at least 2" in help_text(
        command_line.known_flags([CHOSEN])
    )
    with pytest.raises(InputError, match="--degrees=1: must be a finite number of at least 2"):
        parse([CHOSEN, "--degrees=1"])
    with pytest.raises(InputError, match="did you mean --degrees"):
        parse([CHOSEN, "--degree=3"])


def test_without_it_there_are_no_such_flags():
    assert not {"degrees", "num_modes"} & {*Config().flags}
    with pytest.raises(InputError, match="--degrees: unknown flag"):
        parse(["--degrees=3"])


def test_it_sweeps_in_one_program_and_is_a_column():
    config = parse([CHOSEN, "--sweep=degrees=2,30", "--sweep=seed=0:2"])
    runs = sweeps.configs(config)
    hparams = build.hparams(runs)
    assert hparams.degrees.tolist() == [2.0, 2.0, 30.0, 30.0]
    assert hparams.scale.tolist() == [0.5] * 4
    assert build.train_spec(runs[0], (2, 2, 1)).model.likelihood == Heavy(num_modes=3)
    swept = ["degrees", "seed"]
    assert "degrees" in results.header(swept, [])
    assert results.settings_of(runs[2], swept)["degrees"] == 30.0
    columns = results.declared([*config.arrays], [], config.flags)
    assert columns["degrees"].meaning == "degrees of freedom"


def test_what_it_declares_under_a_known_name_holds_where_it_is_chosen():
    assert parse([CHOSEN, "--scale=0"]).scale == 0.0
    with pytest.raises(InputError, match="--scale=0: must be a finite number above 0"):
        parse(["--likelihood=gaussian", "--scale=0"])
    runs = sweeps.configs(parse([f"--sweep=likelihood=gaussian,{HEAVY}"]))
    assert [run.scale for run in runs] == [1.0, 0.5]
    with pytest.raises(InputError, match="--scale=0: must be a finite number above 0"):
        parse([f"--sweep=likelihood=gaussian,{HEAVY}", "--scale=0"])


def test_a_flag_that_only_some_runs_of_a_study_read_is_given_for_those():
    runs = sweeps.configs(parse([f"--sweep=likelihood=bernoulli,{HEAVY}", "--degrees=3"]))
    assert [run.degrees for run in runs] == [3.0, 3.0]
    assert without_effect(runs[0])["degrees"] == "with --likelihood=bernoulli"
    assert "degrees" not in without_effect(runs[1])


@dataclass(frozen=True)
class Clashing(MLP):
    """Network with a setting of the name that the likelihood's hyperparameter has."""

    degrees: int = setting(1, whole(1), "degrees of a polynomial")


def test_two_members_of_a_run_may_not_disagree_about_a_flag():
    with pytest.raises(InputError, match=r"--degrees: .* declares it with another default"):
        parse([CHOSEN, f"--network={__name__}:Clashing"])
    assert parse([f"--network={__name__}:Clashing"]).degrees == 1


def test_python_and_the_command_line_have_one_default_for_one_thing():
    for kind, registry in KINDS.items():
        for name, member in registry.items():
            is_named = kind not in ("regularizer", "evaluate")
            config = Config(**{kind: name} if is_named else {})
            assert build.member(member, config) == member(), name
    assert set(REGULARIZERS.values()) <= {member for _, member in Config().members}


def test_the_particles_of_an_nll_have_one_default():
    calls = (vae_jax.ablate, vae_jax.score, Study.evaluate, TrainedRun.log_evidence)
    found = {inspect.signature(call).parameters["num_particles"].default for call in calls}
    assert found == {FLAGS["eval_particles"].default}


@pytest.mark.parametrize(
    ("values", "name", "reason"),
    [
        ({}, "free_bits", "without --kl_penalty=free_bits"),
        ({"objective": "iwae"}, "free_bits", "with --objective=iwae"),
        ({"kl_penalty": "capacity"}, "capacity_steps", None),
        ({}, "process_id", "without --distributed"),
        ({"distributed": True}, "process_id", "without --coordinator"),
        ({"hidden_sizes": ()}, "weight_norm", "without --hidden_sizes"),
        ({"network": "conv"}, "weight_norm", None),
        ({}, "top_hidden_sizes", "without --top_latent_size"),
        ({}, "scale", "with --likelihood=bernoulli"),
        ({"posterior": "delta"}, "beta", "with --posterior=delta, which has no KL"),
        ({}, "dip_of", "without a weight of dip"),
        ({"evaluate": ("ais",)}, "ais_steps", None),
    ],
)
def test_a_flag_without_effect_has_a_reason(values, name, reason):
    assert without_effect(Config(**values)).get(name) == reason
