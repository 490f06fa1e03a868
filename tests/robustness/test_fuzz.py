"""Arbitrary command lines and data files give a result, or one line with the reason."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.samples import idx_bytes, numbered
from vae_jax.config import command_line, sweeps
from vae_jax.config.flags import FLAGS, Config
from vae_jax.data.dataset import Provenance
from vae_jax.data.idx import read_idx
from vae_jax.data.npz import read_npz
from vae_jax.data.registry import build_dataset
from vae_jax.runtime.errors import InputError

many = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

NAMES = st.sampled_from([*FLAGS, "sweep", "flagfile", "nobeta", "helpp", ""])
NUMBERS = st.one_of(st.integers(), st.floats()).map(str)
TEXTS = st.one_of(st.text(max_size=20), NUMBERS, st.just("log:1:2:3"), st.just("1,2/3"))
SWEEPS = st.builds("{}={}".format, NAMES, st.lists(TEXTS, max_size=3).map(",".join))
WORDS = st.one_of(
    st.text(max_size=20),
    st.builds("--{}={}".format, NAMES, TEXTS),
    st.builds("--{}".format, NAMES),
    SWEEPS.map("--sweep={}".format),
)


def _result_of(call) -> object:
    """Return the result, or None after an error of one line."""
    try:
        return call()
    except InputError as error:
        message = str(error)
    assert message.isprintable()
    return None


@many
@given(st.lists(WORDS, max_size=4))
@example(["--sweep=seed=0:2147483647"])
@example(["--sweep=beta=lin:0:1:999999999"])
@example(["--sweep=seed=0:9999", "--sweep=warmup_steps=0:9999"])
def test_the_flag_parser_takes_anything(words):
    found = _result_of(lambda: command_line.parse(words))
    if isinstance(found, Config):
        again = command_line.parse(sweeps.as_lines(found))
        assert sweeps.configs(again) == sweeps.configs(found)


def _npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x_train=numbered(12), y_train=np.arange(12), x_test=numbered(3))
    return buffer.getvalue()


VALID_NPZ, VALID_IDX = _npz_bytes(), idx_bytes(numbered(12))


@st.composite
def _mutations(draw, valid: bytes) -> bytes:
    """Draw the valid bytes with a few of them changed, and perhaps cut or lengthened."""
    content = bytearray(valid)
    for _ in range(draw(st.integers(0, 6))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    end = draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    return bytes(content[:end]) + draw(st.binary(max_size=4))


def _load(read, path: Path) -> object:
    record = Provenance(asked="x", used="x", source="fuzz", splits="")
    return _result_of(lambda: build_dataset(read(path, "--dataset=x"), record, "--dataset=x"))


def _assert_sound(dataset) -> None:
    if dataset is not None:
        assert dataset.train.dtype in (np.uint8, np.float32, np.int32)
        assert np.isfinite(dataset.train).all()
        assert dataset.train.ndim >= 2
        assert dataset.train.size > 0


@many
@given(st.one_of(_mutations(VALID_NPZ), st.binary(max_size=64)))
def test_the_npz_reader_takes_anything(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    _assert_sound(_load(read_npz, tmp_path / "x.npz"))


def _read_idx(path: Path, flag: str):
    return read_idx({path.name: path}, "fuzz", flag)


@many
@given(st.one_of(_mutations(VALID_IDX), st.binary(max_size=64)))
@example(struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1))
@example(struct.pack(">HBB255I", 0, 8, 255, *[1] * 255) + b"x")
@example(struct.pack(">HBB65I", 0, 8, 65, *[1] * 65) + b"x")
@example(b"\x1f\x8b" + b"\x08" * 30)
def test_the_idx_reader_takes_anything(tmp_path, content):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    _assert_sound(_load(_read_idx, path))


@pytest.mark.parametrize("flag", [f for f in FLAGS.values() if f.type.parse is int])
@settings(many, max_examples=40)  # for each of so many flags of one type
@given(text=st.text(st.characters(categories=["Nd", "Pd", "Zs"]), max_size=6))
def test_a_count_is_a_count_in_any_script(flag, text):
    value = _result_of(lambda: flag.parse(text))
    assert value is None or (type(value) is int and value >= 0)
