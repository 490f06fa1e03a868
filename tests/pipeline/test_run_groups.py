"""Which runs share a program: on a CPU none whose numbers depend on who else is in it."""

import pytest

from tests.oracles import tiny_data
from vae_jax.config import sweeps
from vae_jax.config.command_line import parse
from vae_jax.pipeline import run_groups

DATA = tiny_data()
SMALL = ["--batch_size=16", "--hidden_sizes=3"]


def planned(folder, *argv):
    config = parse([*SMALL, f"--workdir={folder}", *argv])
    return run_groups.plan(folder, sweeps.configs(config), DATA, 1)


@pytest.mark.parametrize(
    ("sweep", "num_groups"),
    [
        ("latent_size=2,20,48", 1),
        ("latent_size=20,64,50", 2),
        ("top_latent_size=2,20,64", 2),
        ("clip_norm=1,inf,2", 2),
    ],
)
def test_a_row_has_the_program_of_the_run_alone(tmp_path, sweep, num_groups):
    """The same static spec is the same program, whose runs on a CPU do not see each other."""
    groups = planned(tmp_path / "study", f"--sweep={sweep}")
    assert len(groups) == num_groups
    for group in groups:
        for config in group.configs:
            name = sweep.partition("=")[0]
            value = f"--{name}={getattr(config, name)}"
            (alone,) = planned(tmp_path / value, value)
            spec, own = group.spec(DATA), alone.spec(DATA)
            assert spec.model.width == own.model.width
            assert spec.model.posterior == own.model.posterior
            assert spec.optimizer == own.optimizer


def test_a_run_begun_before_a_flag_existed_is_the_same_run():
    old, new = {"beta": "4.0"}, {"beta": "4.0", "ema": "0.0", "(data)": "x"}
    assert run_groups._key(old | {"(data)": "x"}) == run_groups._key(new)
    assert run_groups._key(new | {"ema": "0.9"}) != run_groups._key(new)
