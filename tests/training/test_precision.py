"""Precision of numbers: bfloat16 is for networks alone."""

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

from tests.oracles import tiny_data
from vae_jax.config import build, command_line
from vae_jax.training import step
from vae_jax.training.batches import Examples

DATA = tiny_data(32, (8, 8, 1))
COMBINATIONS = [
    [],
    ["--network=conv", "--channels=4,8", "--hidden_sizes=8", "--likelihood=gaussian"],
    ["--network=resnet", "--channels=4", "--hidden_sizes=8", "--likelihood=discretized_logistic"],
    ["--objective=iwae", "--num_particles=3", "--prior=mixture", "--posterior=iaf"],
    ["--prior=vamp", "--posterior=full_gaussian", "--tc_weight=0"],
    ["--prior=flow", "--posterior=planar", "--likelihood=continuous_bernoulli"],
    ["--top_latent_size=3", "--kl_penalty=free_bits", "--free_bits=0.1"],
    ["--tc_weight=1", "--dip_offdiagonal=1", "--mmd_weight=1", "--factor_weight=1"],
]


def _equations(jaxpr, scope=""):
    """Yield the primitive equations, those of inner functions too, each with its scope."""
    for equation in jaxpr.eqns:
        inside = f"{scope}/{equation.source_info.name_stack}"
        inner = _inner(equation)
        for sub in inner:
            yield from _equations(sub, inside)
        if not inner:
            yield equation, inside


def _inner(equation) -> list[Jaxpr]:
    """Return the functions among an equation's parameters."""
    functions = [
        value
        for value in jax.tree.leaves(list(equation.params.values()))
        if isinstance(value, Jaxpr | ClosedJaxpr)
    ]
    return [getattr(function, "jaxpr", function) for function in functions]


def _dtypes(equation) -> set:
    return {v.aval.dtype for v in (*equation.invars, *equation.outvars) if hasattr(v, "aval")}


@pytest.mark.parametrize("flags", COMBINATIONS, ids=" ".join)
def test_bfloat16_is_for_networks_alone(flags):
    config = command_line.parse(["--compute_dtype=bfloat16", "--batch_size=8", *flags])
    spec = build.train_spec(config, DATA.image_shape)
    hparams = jax.tree.map(lambda values: values[0], build.hparams([config]))
    state = jax.eval_shape(
        lambda: step.init(spec, hparams, jnp.full(DATA.image_shape, 0.5), jnp.zeros((10, 8, 8, 1)))
    )

    def objective(state):
        examples = Examples(jnp.asarray(DATA.train))
        batch = step.draw_batch(
            spec, step.BatchKeys.at(hparams, state.step), examples, jnp.arange(8)
        )
        return step.regularized_objective(spec, hparams, state.step, state.params, batch, 32)

    jaxpr = jax.make_jaxpr(objective)(state)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    assert jnp.bfloat16 not in {v.aval.dtype for v in jaxpr.jaxpr.outvars}
    found = 0
    for equation, scope in _equations(jaxpr.jaxpr):
        is_half = jnp.dtype("bfloat16") in _dtypes(equation)
        found += is_half
        if is_half and equation.primitive.name not in ("convert_element_type", "reshape"):
            assert "Encoder" in scope or "Decoder" in scope, equation
            assert equation.primitive.name not in ("exp", "log", "log1p", "reduce_max"), equation
    assert found


@pytest.mark.parametrize(
    ("flags", "platform", "expected"),
    [
        ([], "cpu", "default"),
        ([], "gpu", "default"),
        ([], "tpu", "highest"),
        (["--matmul_precision=high"], "tpu", "high"),
        (["--matmul_precision=default"], "tpu", "default"),
    ],
)
def test_products_are_exact_on_a_tpu_unless_asked_otherwise(flags, platform, expected):
    assert build.matmul_precision(command_line.parse(flags), platform) == expected
