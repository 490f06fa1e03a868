"""Command lines and flagfiles: what they give, and the one line for each mistake."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config.messages import result_or_message
from vae_jax.config import flags
from vae_jax.config.command_line import parse
from vae_jax.config.flags import FLAGS, Config
from vae_jax.runtime.errors import InputError

EXPERIMENTS = Path(flags.__file__).parents[2] / "experiments"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--latent_sizes=3"], "--latent_sizes: unknown flag; did you mean --latent_size?"),
        (["--no_such_flag_at_all=3"], "--no_such_flag_at_all: unknown flag; see --help"),
        (["--nobeta"], "--nobeta: unknown flag; did you mean --beta?"),
        (["mnist"], "'mnist': not a flag; flags look like --name=value, see --help"),
        (["--beta=1", "4"], "'4': not a flag; flags look like --name=value, see --help"),
        (["--a\nb=1"], "--a b: unknown flag; see --help"),
        (["--beta=1\n2"], "--beta=1 2: must be a finite number of at least 0"),
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


def test_no_flags_give_the_defaults_and_a_workdir():
    assert parse([]) == Config(workdir="runs/vae")


@settings(deadline=None, max_examples=100)
@given(argv=st.lists(st.text() | st.sampled_from([f"--{name}" for name in FLAGS]), max_size=3))
def test_any_command_line_is_a_config_or_one_line(argv):
    value = result_or_message(parse, argv)
    assert isinstance(value, Config) or len(value.splitlines()) == 1


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
    (here / "a.flags").write_bytes(b"\xff\xfa--beta")
    with pytest.raises(InputError, match=r"^--flagfile=a\.flags: cannot be read as text"):
        parse(["--flagfile=a.flags"])


def test_a_mistake_in_a_flagfile_reads_like_one_on_the_command_line(here):
    (here / "a.flags").write_text("--beta=x")
    with pytest.raises(InputError, match=r"^--beta=x: must be a finite number"):
        parse(["--flagfile=a.flags"])


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.flags")), ids=lambda path: path.name)
def test_every_experiment_parses_from_anywhere(here, path):
    assert parse([f"--flagfile={path.name}"]).workdir == f"runs/{path.stem}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["unix", "windows"])
def test_flagfiles_of_any_editor_are_read(encoding, newline, tmp_path):
    path = tmp_path / "own.flags"
    path.write_bytes(newline.join(["# mine", "--beta=4", "--dataset=mnist_5k"]).encode(encoding))
    config = parse([f"--flagfile={path}"])
    assert (config.beta, config.dataset) == (4.0, "mnist_5k")


@pytest.mark.parametrize(
    ("line", "problem", "remedy"),
    [
        ('--workdir="my runs"', "has quotes", "write --workdir=my runs"),
        ("--workdir='runs'", "has quotes", "write --workdir=runs"),
        ("--workdir=runs --beta=4", "holds two flags", "write --beta=4 in a line"),
        ("--workdir=runs \\", "ends with a backslash", "leave it out"),
        ("--workdir=runs # mine", "ends with a comment", "a line of its own"),
        ("\N{EM DASH}beta=4", "a dash that is no hyphen", "write --beta=4"),
        ("\N{EN DASH}\N{EN DASH}beta=4", "a dash that is no hyphen", "write --beta=4"),
    ],
)
def test_what_a_shell_or_a_word_processor_reads_is_no_part_of_a_value(
    line, problem, remedy, tmp_path
):
    path = tmp_path / "own.flags"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        parse([f"--flagfile={path}"])
    assert str(caught.value).startswith(f"--flagfile={path}: the line {line} ")
    assert problem in str(caught.value)
    assert remedy in str(caught.value)


def test_the_flags_of_a_workdir_are_values_as_they_were_given(tmp_path):
    path = tmp_path / "flags.txt"
    path.write_text("--dataset=data # 1\n")
    assert parse([f"--flagfile={path}"]).dataset == "data # 1"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32-be", "latin-1"])
def test_a_flagfile_in_another_encoding_is_refused_with_the_remedy(encoding, tmp_path):
    path = tmp_path / "own.flags"
    path.write_bytes("# caf\u00e9\n--beta=4\n".encode(encoding))
    with pytest.raises(InputError, match=r"^--flagfile=.*; save it as UTF-8$"):
        parse([f"--flagfile={path}"])


@pytest.mark.parametrize("line", ["--beta = 4", "--beta 4", "--beta= 4", "--beta =4", "-beta  4"])
def test_spaces_in_a_line_of_a_flagfile_are_refused_with_what_to_write(line, tmp_path):
    path = tmp_path / "own.flags"
    path.write_text(line)
    with pytest.raises(InputError) as caught:
        parse([f"--flagfile={path}"])
    assert str(caught.value).startswith(f"--flagfile={path}: the line {line} has spaces")
    assert str(caught.value).endswith("beta=4")
