"""Settings in errors: dashes on the command line, none in Python."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import vae_jax
from vae_jax import cli
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.lock import Lock

PACKAGE = Path(vae_jax.__file__).parent
LIBRARIES = ("data", "models", "objectives", "training", "evaluation", "runtime")
NO_ERRORS = ("columns.py", "evidence.py", "annealing.py")
"""Files of evaluation whose sentences are the report's, which speaks of flags."""
DASHES = re.compile(r"(?<![\w-])--[a-z]")

REFUSED = {
    "unknown name": (["--dataset=emnist_"], "dataset=emnist_: "),
    "no effect": (["--dataset=digits", "--resize=8x6"], "resize=8x6: has no effect on "),
    "no network": (["--dataset=no_such.npz"], "dataset=no_such.npz: no such file"),
    "splits": (["--dataset=sprites/9", "--num_valid=5"], "num_valid=5: has no effect on "),
    "encoding": (["--dataset=digits", "--encoding=counts"], "likelihood=bernoulli: takes pixels"),
    "member": (["--dataset=digits", "--prior=no.such:Prior"], "prior=no.such:Prior: "),
    "batch": (["--dataset=digits", "--batch_size=5000"], "batch_size=5000: exceeds the "),
}


@pytest.mark.parametrize(("argv", "begins"), REFUSED.values(), ids=REFUSED)
def test_the_command_line_writes_the_settings_of_errors_with_dashes(argv, begins, tmp_path, capsys):
    assert cli.main([*argv, f"--workdir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"run.py: --{begins}")
    assert not re.search(r"(?<![-\w/])(dataset|encoding|likelihood)=", error)


def _loaded(name, **more):
    return lambda folder: vae_jax.load(name.format(folder=folder), data_dir=str(folder), **more)


def _saved(folder, **arrays):
    np.savez(folder / "own.npz", **arrays)
    return vae_jax.load(str(folder / "own.npz"))


def _with_a_foreign_lock(folder):
    (folder / ".lock").write_text("mine")
    return folder


def _hold(folder):
    with Lock(folder).hold():
        pass


CALLS = {
    "unknown name": _loaded("emnist_"),
    "not prepared": _loaded("cifar10"),
    "no effect": _loaded("digits", resize=(8, 6)),
    "splits": _loaded("sprites/9", num_valid=5),
    "two meanings": lambda folder: _saved(folder, x_train=np.full((9, 4, 4), 300)),
    "no counts": _loaded("digits", encoding="cunts"),
    "outside": _loaded("no_such_module:read"),
    "workdir": lambda folder: vae_jax.load_run(folder),
    "lock": lambda folder: _hold(_with_a_foreign_lock(folder)),
    "batch": lambda folder: vae_jax.fit(
        vae_jax.TrainSpec(vae_jax.VAE((8, 8, 1), 2), batch_size=5000),
        vae_jax.HParams.of(latent_size=2),
        vae_jax.load("digits"),
        num_steps=1,
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_errors_of_python_name_settings_without_dashes(call, tmp_path):
    with pytest.raises(InputError) as caught:
        call(tmp_path)
    assert not DASHES.search(
        re.sub("`[^`]*`", "", str(caught.value))
    )  # commands to type are quoted


def _sentences(tree):
    """Return the literal texts of a module that are no docstrings."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(getattr(node, "body", None), list)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    docs |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [n.value for n in constants if isinstance(n.value, str) and id(n) not in docs]


def test_no_text_of_a_library_module_writes_a_flag():
    files = [
        *PACKAGE.glob("*.py"),
        *(f for name in LIBRARIES for f in (PACKAGE / name).rglob("*.py")),
    ]
    found = [
        (file.name, text)
        for file in files
        if file.name not in ("cli.py", "provenance.py", "tfds.py", *NO_ERRORS)
        for text in _sentences(ast.parse(file.read_text()))
        if DASHES.search(text)
    ]
    assert found == []


def test_what_is_no_flag_gets_no_dashes_and_a_swept_flag_is_quoted_as_it_was_given(capsys):
    assert cli.main(["beta=4"]) == 2
    assert capsys.readouterr().err.startswith("run.py: 'beta=4': not a flag")
    assert cli.main(["--sweep=scale=1,2"]) == 2
    assert capsys.readouterr().err.startswith("run.py: --sweep=scale=1,2: has no effect with ")
