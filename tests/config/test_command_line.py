"""Flags: every mistake gets one line with the flag, the value and what it must be."""

import dataclasses
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.config import schema
from vae_jax.config.command_line import parse
from vae_jax.config.schema import FIELDS, Config, as_text, parse_value
from vae_jax.config.validation import as_flags
from vae_jax.runtime.errors import InputError

EXPERIMENTS = Path(schema.__file__).parents[2] / "experiments"
WHOLE = "must be a whole number from 1 to 2147483647"
FROM_ZERO = "must be a whole number from 0 to 2147483647"
REAL = "must be a finite number of at least 0"
ABOVE = "must be a finite number above 0"
SIZES = "must be whole numbers of at least 1, separated by commas"
WORDS = "must be printable text"


@pytest.mark.parametrize(
    ("argument", "words"),
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
        ("--dataset=", WORDS),
        ("--dataset=mnist ", WORDS),
        ("--workdir=", WORDS),
        ("--workdir=runs/\x00", WORDS),
    ],
)
def test_a_bad_value_is_named_with_what_it_must_be(argument, words):
    with pytest.raises(InputError) as caught:
        parse([argument])
    shown = argument.replace("\x00", "\\x00")
    assert str(caught.value).startswith(f"{shown}: {words}")


@pytest.mark.parametrize("number", ["9" * 5000, "1" + "0" * 400])
def test_a_number_of_any_length_is_only_a_number(number):
    for name in ("beta", "seed"):
        with pytest.raises(InputError, match=rf"--{name}=\d+: must be"):
            parse([f"--{name}={number}"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--latent_sizes=3"], "--latent_sizes: unknown flag; did you mean --latent_size?"),
        (["--no_such_flag_at_all=3"], "--no_such_flag_at_all: unknown flag; see --help"),
        (["--nobeta"], "--nobeta: unknown flag; did you mean --beta?"),
        (["mnist"], "mnist: not a flag; flags look like --name=value, see --help"),
        (["--beta=1", "4"], "4: not a flag; flags look like --name=value, see --help"),
        (["--a\nb=1"], "--a b: unknown flag; see --help"),
        (["--beta=1\n2"], "--beta=1 2: must be a finite number of at least 0"),
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
            "--hidden_sizes=: must name a size with --network=conv, for example 256",
        ),
    ],
)
def test_a_bad_command_line_gets_one_line(argv, message):
    with pytest.raises(InputError) as caught:
        parse(argv)
    assert str(caught.value) == message


def test_a_flag_without_its_value_is_named():
    with pytest.raises(InputError, match=r"\bbeta\b") as caught:
        parse(["--beta"])
    assert len(str(caught.value).splitlines()) == 1


def test_the_longest_run_that_is_allowed_is_allowed():
    assert parse(["--num_steps=33554431", "--batch_size=64"]).num_steps == 33554431


def test_no_flags_give_the_defaults_and_a_place():
    assert parse([]) == dataclasses.replace(Config(), workdir="runs/vae")


def test_values_take_their_types():
    parsed = parse(["--beta=4", "--hidden_sizes=500, 300", "--seed", "7", "--clip_norm=inf"])
    assert parsed.beta == 4.0
    assert parsed.hidden_sizes == (500, 300)
    assert parsed.seed == 7
    assert parsed.clip_norm == math.inf
    assert parse(["--hidden_sizes="]).hidden_sizes == ()


# Flagfiles.


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_later_flags_win_wherever_the_flagfile_stands(here):
    (here / "a.flags").write_text("--beta=2\n--seed=1\n--seed=2\n")
    assert parse(["--flagfile=a.flags", "--beta=3"]).beta == 3
    assert parse(["--beta=3", "--flagfile=a.flags"]).beta == 2
    assert parse(["--flagfile", "a.flags"]).seed == 2


def test_comments_blank_lines_and_spaces_do_not_count(here):
    (here / "a.flags").write_text("# words --beta=9\n\n   \n// more\n  --beta=2  \r\n#--seed=5")
    parsed = parse(["--flagfile=a.flags"])
    assert (parsed.beta, parsed.seed) == (2, 0)


def test_a_flagfile_may_begin_with_another(here):
    (here / "base.flags").write_text("--beta=2\n--seed=1")
    (here / "a.flags").write_text("--flagfile=base.flags\n--seed=3\n--flagfile=mnist.flags")
    parsed = parse(["--flagfile=a.flags"])
    assert (parsed.beta, parsed.seed, parsed.binarize) == (2, 3, "dynamic")
    assert parsed.workdir == "runs/a"


def test_a_flagfile_that_leads_back_to_itself_is_refused(here):
    (here / "a.flags").write_text("--flagfile=b.flags")
    (here / "b.flags").write_text("--flagfile=a.flags")
    with pytest.raises(InputError, match=r"^--flagfile=a\.flags: leads back to itself"):
        parse(["--flagfile=a.flags"])


def test_flagfiles_are_looked_up_here_before_experiments(here):
    assert parse(["--flagfile=mnist.flags"]).dataset == "mnist"
    (here / "mnist.flags").write_text("--dataset=digits")
    assert parse(["--flagfile=mnist.flags"]).dataset == "digits"


def test_the_workdir_is_named_after_the_last_flagfile(here):
    for name in ("a", "b"):
        (here / f"{name}.flags").write_text("--beta=2")
    assert parse(["--flagfile=a.flags", "--flagfile", "b.flags"]).workdir == "runs/b"
    assert parse(["--flagfile=a.flags", "--workdir=w"]).workdir == "w"


@pytest.mark.parametrize("name", ["no.flags", "", ".", "a" * 5000, "no\x00"])
def test_a_missing_flagfile_is_named_with_those_there_are(here, name):
    with pytest.raises(InputError) as caught:
        parse([f"--flagfile={name}"])
    shown = name.replace("\x00", "\\x00")
    assert str(caught.value).startswith(f"--flagfile={shown}: no such file here or in experiments/")
    assert "mnist.flags" in str(caught.value)


def test_a_flagfile_that_is_no_text_is_refused(here):
    (here / "a.flags").write_bytes(b"\xff\xfe--beta")
    with pytest.raises(InputError, match=r"^--flagfile=a\.flags: cannot be read as text"):
        parse(["--flagfile=a.flags"])


def test_a_mistake_in_a_flagfile_reads_like_one_on_the_command_line(here):
    (here / "a.flags").write_text("--beta=x")
    with pytest.raises(InputError, match=r"^--beta=x: must be a finite number"):
        parse(["--flagfile=a.flags"])


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.flags")), ids=lambda path: path.name)
def test_every_experiment_parses_from_anywhere(here, path):
    assert parse([f"--flagfile={path.name}"]).workdir == f"runs/{path.stem}"


# What a run writes down repeats it.

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


def _or_complaint(function, *args):
    """What the function returns, or the one line that it raises."""
    try:
        return function(*args)
    except InputError as error:
        return _Complaint(str(error))


class _Complaint(str):
    __slots__ = ()


@settings(deadline=None, max_examples=50)
@given(beta=st.floats(0, 1e38), seed=st.integers(0, 2**31 - 1), dataset=st.text(min_size=1))
def test_any_value_that_is_taken_survives_being_written_down(tmp_path_factory, beta, seed, dataset):
    config = _or_complaint(parse, [f"--beta={beta}", f"--seed={seed}", f"--dataset={dataset}"])
    if isinstance(config, _Complaint):
        assert config.startswith("--dataset=")
    else:
        assert config.beta == beta
        assert _round_trip(config, tmp_path_factory.mktemp("flags")) == config


NUMBERS = st.from_regex(r"[-+]?[0-9]{0,4}[.eE_,]?[-+]?[0-9]{0,4}", fullmatch=True)


@settings(deadline=None, max_examples=300)
@given(name=st.sampled_from(sorted(FIELDS)), text=st.text() | NUMBERS)
def test_any_text_is_a_value_or_one_line(name, text):
    value = _or_complaint(parse_value, name, text)
    if isinstance(value, _Complaint):
        assert value.startswith(f"--{name}=")
        assert len(value.splitlines()) == 1
    else:
        assert parse_value(name, as_text(value)) == value


@settings(deadline=None, max_examples=100)
@given(argv=st.lists(st.text() | st.sampled_from([f"--{name}" for name in FIELDS]), max_size=3))
def test_any_command_line_is_a_config_or_one_line(argv):
    value = _or_complaint(parse, argv)
    assert isinstance(value, Config) or len(value.splitlines()) == 1


def test_help_lists_every_flag_with_its_default():
    text = schema.help_text()
    assert "--sweep=NAME=" in text
    for field in FIELDS.values():
        assert f"--{field.name}={as_text(field.default)}\n" in text
        assert field.metadata["help"] in text
