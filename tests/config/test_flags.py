"""Values of flags: parsed by their types, or refused with the flag, the value and the range."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config.messages import Message, result_or_message
from vae_jax.config import flags
from vae_jax.config.command_line import parse
from vae_jax.config.flags import FLAGS, as_text
from vae_jax.runtime.errors import InputError

WHOLE = "must be a whole number from 1 to 2147483647"
FROM_ZERO = "must be a whole number from 0 to 2147483647"
REAL = "must be a finite number of at least 0"
ABOVE = "must be a finite number above 0"
SIZES = "must be whole numbers of at least 1, separated by commas"
PRINTABLE = "must be printable text"


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("--beta=4x", REAL),
        ("--beta=", REAL),
        ("--beta=-0.5", REAL),
        ("--beta=nan", REAL),
        ("--beta=inf", REAL),
        ("--beta=1e39", REAL),
        ("--beta=1,2", REAL),
        ("--learning_rate=0", ABOVE),
        ("--learning_rate=-1e-3", ABOVE),
        ("--clip_norm=0", f"{ABOVE}, or inf"),
        ("--clip_norm=nan", f"{ABOVE}, or inf"),
        ("--clip_norm=-inf", f"{ABOVE}, or inf"),
        ("--latent_size=0", WHOLE),
        ("--latent_size=2.0", WHOLE),
        ("--latent_size=2147483648", WHOLE),
        ("--latent_size=1e3", WHOLE),
        ("--latent_size=½", WHOLE),
        ("--num_steps=0", WHOLE),
        ("--num_steps=-5", WHOLE),
        ("--batch_size=0", WHOLE),
        ("--eval_particles=0", WHOLE),
        ("--chunk_steps=0", WHOLE),
        ("--checkpoint_every=0", WHOLE),
        ("--seed=-1", FROM_ZERO),
        ("--seed=4294967296", FROM_ZERO),
        ("--seed=None", FROM_ZERO),
        ("--num_valid=-1", FROM_ZERO),
        ("--warmup_steps=-1", FROM_ZERO),
        ("--hidden_sizes=4,,5", SIZES),
        ("--hidden_sizes=0", SIZES),
        ("--hidden_sizes=4,-5", SIZES),
        ("--hidden_sizes=4;5", SIZES),
        ("--hidden_sizes=4294967296", SIZES),
        ("--channels=", SIZES),
        ("--num_blocks=1001", "must be a whole number from 1 to 1000"),
        ("--num_flows=1000000000", "must be a whole number from 1 to 1000"),
        ("--num_couplings=1000000000", "must be a whole number from 1 to 1000"),
        ("--network=lstm", "must be one of mlp, conv"),
        ("--network=MLP", "must be one of mlp, conv"),
        ("--binarize=yes", "must be one of none, threshold, static, dynamic"),
        ("--schedule=linear", "must be one of constant, cosine"),
        ("--compute_dtype=float16", "must be one of float32, bfloat16, float64"),
        ("--likelihood=", "must be one of bernoulli"),
        ("--dataset=", PRINTABLE),
        ("--dataset=mnist ", PRINTABLE),
        ("--workdir=", PRINTABLE),
        ("--workdir=runs/\x00", PRINTABLE),
    ],
)
def test_a_bad_value_is_named_with_what_it_must_be(argument, problem):
    with pytest.raises(InputError) as caught:
        parse([argument])
    shown = argument.replace("\x00", "\\x00")
    assert str(caught.value).startswith(f"{shown}: {problem}")


@pytest.mark.parametrize("number", ["9" * 5000, "1" + "0" * 400])
def test_a_number_of_any_length_is_only_a_number(number):
    for name in ("beta", "seed"):
        with pytest.raises(InputError, match=rf"--{name}=\d+: must be"):
            parse([f"--{name}={number}"])


def test_values_take_their_types():
    parsed = parse(["--beta=4", "--hidden_sizes=500, 300", "--seed", "7", "--clip_norm=inf"])
    assert parsed.beta == 4.0
    assert parsed.hidden_sizes == (500, 300)
    assert parsed.seed == 7
    assert parsed.clip_norm == math.inf
    assert parse(["--hidden_sizes="]).hidden_sizes == ()


NUMBERS = st.from_regex(r"[-+]?[0-9]{0,4}[.eE_,]?[-+]?[0-9]{0,4}", fullmatch=True)


@settings(deadline=None, max_examples=300)
@given(name=st.sampled_from(sorted(FLAGS)), text=st.text() | NUMBERS)
def test_any_text_is_a_value_or_one_line(name, text):
    value = result_or_message(FLAGS[name].parse, text)
    if isinstance(value, Message):
        assert value.startswith(f"--{name}=")
        assert len(value.splitlines()) == 1
    else:
        assert FLAGS[name].parse(as_text(value)) == value


def test_help_lists_every_flag_with_its_default():
    text = flags.help_text()
    assert "--sweep=NAME=" in text
    for flag in FLAGS.values():
        assert f"--{flag.name}={as_text(flag.default)}\n" in text
        assert flag.doc in text
