"""Hyperparameters that are arrays: types and ranges by their declarations, and a pytree of JAX."""

import copy
import pickle
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest

from vae_jax.config.flags import FLAGS
from vae_jax.hparams import HParam, HParams, declarations, declared_by, shipped
from vae_jax.models.likelihoods import LIKELIHOODS, GaussianLikelihood
from vae_jax.models.vae import VAE
from vae_jax.runtime.errors import InputError
from vae_jax.settings import real, setting, static_settings, whole
from vae_jax.training import members
from vae_jax.training.spec import TrainSpec
from vae_jax.training.vectorized import Layout, grid, over_runs

WHOLE = {"kl_warmup_steps", "capacity_steps", "latent_size", "top_latent_size", "warmup_steps"}
WHOLE |= {"patience"}


@dataclass(frozen=True)
class Outside(GaussianLikelihood):
    """Member from outside of the package, with hyperparameters of its own."""

    num_modes: int = setting(1, whole(1, 9), "modes of each pixel")

    hparams: ClassVar[tuple[HParam, ...]] = (
        *GaussianLikelihood.hparams,
        HParam("degrees", 5.0, real(2.0), "degrees of freedom"),
        HParam("modes_used", 1, whole(1), "modes in use"),
    )


def _assert_same(found: HParams, expected: HParams) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for name, value in expected._asdict().items():
        np.testing.assert_array_equal(getattr(found, name), value)


def test_every_value_takes_the_type_of_its_declaration(float64):
    hparams = HParams.of(beta=2, latent_size=3.0, seed=[True + 1, 7])
    types = {name: str(value.dtype) for name, value in hparams._asdict().items()}
    known = dict.fromkeys(WHOLE, "int32") | {"seed": "uint32"}
    assert types == {name: known.get(name, "float64") for name in shipped()}
    assert {value.shape for value in hparams._asdict().values()} == {(2,)}


def test_new_values_of_any_python_type_share_a_program():
    traced = []

    @jax.jit
    def program(hparams: HParams) -> jax.Array:
        traced.append(1)
        return hparams.beta + hparams.warmup_steps

    for beta, steps in ((1, 2), (2.5, np.int64(3)), (np.float64(4.0), jnp.int32(0))):
        assert program(HParams.of(beta=beta, warmup_steps=steps)) == beta + steps
        assert program(HParams.of()._replace(beta=beta, warmup_steps=steps)) == beta + steps
    assert len(traced) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beta", -1),
        ("beta", float("nan")),
        ("capacity", 1e39),
        ("latent_size", 0),
        ("latent_size", 2.5),
        ("latent_size", 10**400),
        ("seed", -1),
        ("seed", 2**31),
        ("scale", 0.0),
        ("clip_norm", -float("inf")),
    ],
)
def test_a_value_is_refused_in_the_words_of_the_command_line_without_dashes(name, value):
    with pytest.raises(InputError) as on_command_line:
        FLAGS[name].parse(str(value))
    with pytest.raises(InputError) as in_python:
        HParams.of(**{name: value})
    assert f"--{in_python.value}" == str(on_command_line.value)
    assert (in_python.value.setting, in_python.value.value) == (name, value) or value != value
    with pytest.raises(InputError, match=f"{name}="):
        grid(**{name: [shipped()[name].default, value]})


def test_a_traced_value_is_not_checked():
    values = jax.vmap(lambda beta: HParams.of(beta=beta).beta)(jnp.array([-1.0, 2.0]))
    assert values.tolist() == [-1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "remedy"), [("betta", "did you mean beta"), ("degrees", "HParams.of(member, degrees=")]
)
def test_an_unknown_name_is_refused_with_a_remedy(name, remedy):
    for make in (HParams.of, grid, HParams.of()._replace):
        with pytest.raises(InputError) as caught:
            make(**{name: 1.0})
        assert str(caught.value).startswith(f"{name}: unknown hyperparameter; ")
        assert remedy in str(caught.value)
    with pytest.raises(AttributeError, match=name):
        getattr(HParams.of(), name)


def test_hyperparameters_pass_through_the_maps_of_jax():
    hparams = HParams.of(Outside, beta=[1.0, 2.0, 3.0], degrees=[4.0, 5.0, 6.0])

    def double(own: HParams) -> HParams:
        return own._replace(beta=2 * own.beta, degrees=own.degrees + own.beta)

    expected = hparams._replace(beta=[2.0, 4.0, 6.0], degrees=[5.0, 7.0, 9.0])
    on_devices = over_runs(lambda shared, own: double(own), Layout(run_devices=3))
    for mapped in (jax.vmap(double), lambda h: on_devices(None, h)):
        _assert_same(jax.jit(mapped)(hparams), expected)
    axes = HParams(**{name: 0 if name == "beta" else None for name in hparams._fields})
    assert jax.vmap(lambda h: h.beta * h.degrees, (axes,))(hparams).shape == (3, 3)


def test_hyperparameters_survive_copies_pickles_and_checkpoints(tmp_path):
    hparams = HParams.of(Outside, seed=[1, 2], degrees=3.0)
    _assert_same(copy.deepcopy(hparams), hparams)
    _assert_same(pickle.loads(pickle.dumps(hparams)), hparams)
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "hparams", hparams)
        checkpointer.wait_until_finished()
        _assert_same(checkpointer.restore(tmp_path / "hparams", hparams), hparams)
    assert "degrees=[3. 3.]" in repr(hparams)


def test_they_do_not_change():
    with pytest.raises(AttributeError, match="_replace"):
        HParams.of().beta = 2.0


def test_a_member_of_a_spec_brings_its_own_hyperparameters():
    spec = TrainSpec(VAE((2, 2, 1), 1, likelihood=Outside()))
    for reader in (spec, spec.model, Outside, Outside(), (Outside,)):
        hparams = HParams.of(reader, degrees=[2, 30])
        assert hparams.degrees.tolist() == [2.0, 30.0]
        assert hparams.modes_used.tolist() == [1, 1]
        assert [*hparams._fields][: len(shipped())] == [*shipped()]
    with pytest.raises(InputError, match=r"^degrees=1: must be a finite number of at least 2$"):
        HParams.of(spec, degrees=1)


def test_the_declaration_of_the_given_member_holds():
    own = HParam("scale", 0.25, real(0.0), "scale of a member that may have none")
    assert HParams.of().scale == 1.0
    assert HParams.of(own).scale == 0.25
    assert HParams.of(own, scale=0).scale == 0.0
    with pytest.raises(InputError, match="scale: two members declare"):
        HParams.of(own, GaussianLikelihood)


@pytest.mark.parametrize("name", ["of", "_beta", "4x", "as_study"])
def test_a_name_that_could_not_be_read_is_refused(name):
    with pytest.raises(InputError, match=f"name={name}: cannot name a hyperparameter"):
        HParam(name, 0.0, real(0.0), "")


def test_a_member_lists_what_it_reads():
    names = [each.name for each in declarations(Outside)]
    assert names == ["scale_mode", "num_modes", "scale", "degrees", "modes_used"]
    assert [each.name for each in static_settings(Outside())] == names[:2]


def test_everything_that_is_declared_is_collected():
    """A registry or spec that ``READERS`` forgets would have no hyperparameters in Python."""
    registered = [member for each in members.REGISTRIES.values() for member in each.values()]
    assert {*registered, *members.SPECS} == {*members.READERS}
    assert shipped() == declared_by(*registered, *members.SPECS)
    assert set(LIKELIHOODS.values()) <= {*members.READERS}


@pytest.mark.parametrize(
    "values",
    [dict(beta=[1.0, 2.0], seed=[0, 1, 2]), dict(beta=np.ones((1, 2))), dict(beta=[])],
    ids=["two lengths", "a matrix", "no run"],
)
def test_values_of_several_runs_are_lists_of_one_length(values):
    with pytest.raises(InputError, match=r"^beta.*: values of several runs are lists of one"):
        HParams.of(**values)


def test_a_grid_without_a_value_is_refused():
    with pytest.raises(InputError, match=r"^beta=\[\]: gives no run"):
        grid(beta=[], seed=[0, 1])
