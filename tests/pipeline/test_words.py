"""Words before and after training: the note on a fixed scale, and what helps where all diverged."""

import re

import numpy as np
import pytest

from vae_jax.config import command_line
from vae_jax.config.validation import check_combination
from vae_jax.data import Dataset, Provenance
from vae_jax.pipeline import checks, console


def dataset(train, encoding):
    record = Provenance("x", "x", "x", "x")
    return Dataset(train, train, train, None, None, None, record, encoding=encoding)


PIXELS = dataset(np.arange(240, dtype=np.uint8).reshape(60, 4), "pixels")
REALS = dataset(1e-3 * np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32), "reals")


@pytest.mark.parametrize("data", [PIXELS, REALS], ids=["pixels", "reals"])
@pytest.mark.parametrize(
    "own",
    ["--likelihood=gaussian", "--likelihood=laplace --scale=3", "--likelihood=student_t --scale=3"],
)
def test_a_scale_wider_than_the_data_is_noted_with_what_may_replace_it(data, own):
    note = checks.scale_note(command_line.parse(own.split()), data)
    modes = re.findall(r"--scale_mode=(\w+)(?: or (\w+))?", note)[0]
    kept = [each for each in own.split() if "without" not in note or "scale=" not in each]
    for mode in filter(None, modes):
        check_combination(command_line.parse([*kept, f"--scale_mode={mode}"]))
    assert ("--encoding=standardized" in note) == (data is REALS)
    narrow = own.partition(" ")[0] + " --scale=1e-4"
    assert checks.scale_note(command_line.parse(narrow.split()), data) == ""


def closing(diverged, encoding, **flags):
    row = {"run": 0, "diverged": diverged, "clip_norm": None} | flags
    results = {"notes": [], "diagnosis": [[]], "reading": [], "dataset": {"encoding": encoding}}
    (line,) = console.closing([row], results | {"flags": flags})
    return line


def test_what_is_advised_where_every_run_diverged_is_not_in_force():
    assert "--learning_rate or --clip_norm=1" in closing(900, "pixels", compute_dtype="float64")
    clipped = closing(900, "pixels", clip_norm=0.5)
    assert "--clip_norm" not in clipped
    assert "smaller --learning_rate or --compute_dtype=float64" in clipped


def test_what_diverges_before_it_learns_does_so_of_the_unit_of_x():
    line = closing(0, "reals")
    assert "--encoding=standardized" in line
    assert "--learning_rate" not in line
    assert "--encoding" not in closing(0, "pixels")
