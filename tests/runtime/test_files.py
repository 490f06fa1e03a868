"""Files are whole or not at all, and hold only what JSON and CSV can say."""

import json
import math
import os

import numpy as np
import pytest

from vae_jax.runtime import files


def test_json_has_null_for_what_is_not_finite(tmp_path):
    obj = {"a": [1.5, math.nan, (math.inf,)], "b": {"c": np.array([1.0, np.nan])}, "d": None}
    files.write_json(tmp_path / "new" / "x.json", obj)
    assert json.loads((tmp_path / "new" / "x.json").read_text()) == {
        "a": [1.5, None, [None]],
        "b": {"c": [1.0, None]},
        "d": None,
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.int64(3), 3), (np.float64(0.1), 0.1), (np.bool_(True), True), ("é", "é"), (0, 0)],
)
def test_finite_gives_plain_types(value, expected):
    assert files.finite(value) == expected
    assert type(files.finite(value)) is type(expected)


def test_csv_writes_only_the_named_columns_and_leaves_gaps_empty(tmp_path):
    rows = [
        {"run": 0, "test_elbo": -98.1, "diverged": "", "extra": 1},
        {"run": 1, "test_elbo": np.float32("nan"), "diverged": 'step 12, "loss"'},
        {"run": 2, "test_elbo": None},
    ]
    files.write_csv(tmp_path / "x.csv", rows, ["run", "test_elbo", "diverged"])
    assert (tmp_path / "x.csv").read_bytes() == (
        b'run,test_elbo,diverged\n0,-98.1,\n1,,"step 12, ""loss"""\n2,,\n'
    )


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    files.write_json(path, {"old": 1})

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert [left.name for left in tmp_path.iterdir()] == ["x.json"]


def test_no_temporary_file_remains(tmp_path):
    files.write_text(tmp_path / "x.txt", "a")
    files.write_text(tmp_path / "x.txt", "b")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.txt", "b")]
