"""Fifty commands that cannot work: exit status 2, one line with the reason, nothing written."""

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.robustness.processes import save_images
from tests.samples import idx_bytes, numbered, save_npz, write_files
from vae_jax import cli, data
from vae_jax.data import archive_size
from vae_jax.runtime import checksums
from vae_jax.runtime.errors import InputError

FLAGS = {
    "unknown flag": (["--betta=1"], "did you mean --beta?"),
    "unknown, unlike any": (["--zzz=1"], "see --help"),
    "no dashes": (["beta=4"], "not a flag"),
    "no value": (["--beta"], "Missing value"),
    "empty value": (["--beta="], "must be a finite number"),
    "a word for a number": (["--beta=big"], "must be a finite number"),
    "NaN": (["--beta=nan"], "must be a finite number"),
    "infinity": (["--learning_rate=inf"], "must be a finite number"),
    "below the range": (["--beta=-0.1"], "of at least 0"),
    "zero where it is open": (["--learning_rate=0"], "above 0"),
    "beyond float32": (["--beta=1e39"], "must be a finite number"),
    "a fraction for a count": (["--num_steps=1.5"], "a whole number"),
    "zero steps": (["--num_steps=0"], "from 1"),
    "a count beyond int32": (["--seed=2147483648"], "to 2147483647"),
    "a huge count": (["--latent_size=" + "9" * 400], "a whole number"),
    "a very long number": (["--seed=" + "9" * 5000], "a whole number"),
    "too many examples": (["--num_steps=100000000", "--batch_size=64"], "exceeds 2^31 examples"),
    "sizes with a hole": (["--hidden_sizes=8,,8"], "separated by commas"),
    "a size of zero": (["--hidden_sizes=0"], "at least 1"),
    "a network by another name": (["--network=transformer"], "one of mlp, conv"),
    "a truth that is none": (["--restart=maybe"], "oolean"),
    "a line feed in a value": (["--workdir=a\nb"], "printable text"),
    "a zero byte in a value": (["--dataset=a\0b"], "printable text"),
    "without effect": (["--channels=8"], "has no effect with --network=mlp"),
    "a conv without a dense layer": (["--network=conv", "--hidden_sizes="], "at least 1"),
    "more latents than memory": (["--latent_size=2147483647"], "GB, but the device has"),
    "more weights than memory": (["--hidden_sizes=1000000,1000000"], "give smaller sizes"),
    "more particles than memory": (
        ["--objective=iwae", "--num_particles=2147483647"],
        "fewer particles",
    ),
    "a chunk beyond memory": (
        ["--chunk_steps=2147483647", "--eval_every=2147483647", "--checkpoint_every=2147483647"],
        "a smaller --chunk_steps",
    ),
    "a batch beyond the data": (["--batch_size=65"], "exceeds the 64 training examples"),
    "held out twice": (["--num_valid=3"], "has a valid split"),
    "a sweep of nothing": (["--sweep=beta="], "no values"),
    "a sweep of no flag": (["--sweep=bta=1,2"], "did you mean beta?"),
    "a sweep of what cannot be swept": (["--sweep=workdir=a,b"], "cannot be swept"),
    "a sweep with a value twice": (["--sweep=beta=1,1.0"], "a value occurs twice"),
    "a sweep twice": (["--sweep=beta=1", "--sweep=beta=2"], "swept twice"),
    "a range that is empty": (["--sweep=seed=3:3"], "is empty"),
    "a flagfile that is not there": (["--flagfile=no.flags"], "no such file"),
    "a flagfile without a name": (["--flagfile="], "no such file"),
}


def _pickled(folder: Path) -> list[str]:
    path = save_npz(folder, x_train=np.array([[1], [2, 3]], object))
    return [f"--dataset={path}"]


def _bomb(folder: Path) -> list[str]:
    """Return flags for a header that promises more pixels than any memory holds."""
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999, 28, 28), }"
    text = header.encode().ljust(117) + b"\n"
    with zipfile.ZipFile(folder / "bomb.npz", "w") as archive:
        archive.writestr("x_train.npy", b"\x93NUMPY\x01\x00" + bytes([118, 0]) + text)
    return [f"--dataset={folder / 'bomb.npz'}"]


def _outside(folder: Path) -> list[str]:
    """Return flags for an archive whose member is named so as to land in another folder."""
    buffer = io.BytesIO()
    np.save(buffer, numbered(9))
    with zipfile.ZipFile(folder / "outside.npz", "w") as archive:
        archive.writestr("../../x_train.npy", buffer.getvalue())
    return [f"--dataset={folder / 'outside.npz'}"]


def _npz(**arrays: np.ndarray) -> Callable[[Path], list[str]]:
    return lambda folder: [f"--dataset={save_npz(folder, **arrays)}"]


def _conditional(folder: Path) -> list[str]:
    arrays = {"x_train": numbered(20), "y_train": np.arange(20) % 2, "x_test": numbered(4)}
    return [f"--dataset={save_npz(folder, **arrays)}", "--conditional"]


def _way_out(folder: Path) -> list[str]:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").symlink_to("/etc/hostname")
    return [f"--dataset={folder / 'pictures'}"]


def _idx(content: bytes) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        return [f"--dataset={write_files(folder / 'idx', {'train-images-idx3-ubyte': content})}"]

    return make


def _flagfile(content: bytes) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        (folder / "some.flags").write_bytes(content)
        return [f"--flagfile={folder / 'some.flags'}"]

    return make


def _itself(folder: Path) -> list[str]:
    (folder / "loop.flags").write_text(f"--flagfile={folder / 'loop.flags'}\n")
    return [f"--flagfile={folder / 'loop.flags'}"]


def _group(change: Callable[[Path], object]) -> Callable[[Path], list[str]]:
    """Return flags for a workdir in which the file that describes its runs was changed."""

    def make(folder: Path) -> list[str]:
        path = folder / "used" / "checkpoints" / "000" / "group.json"
        path.parent.mkdir(parents=True)
        facts = {"format": 2, "written_by": "vae_jax", "runs": []}
        path.write_text(json.dumps(checksums.with_checksum(facts)))
        change(path)
        return [f"--workdir={folder / 'used'}"]

    return make


def _tomorrow(path: Path) -> None:
    path.write_text(
        json.dumps(checksums.with_checksum({"format": 9, "written_by": "tomorrow's vae_jax"}))
    )


def _results_alone(folder: Path) -> list[str]:
    (folder / "used").mkdir()
    (folder / "used" / "results.csv").write_text("run\n0\n")
    return [f"--workdir={folder / 'used'}"]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


FILES = {
    "no such data": (lambda folder: [f"--dataset={folder / 'no.npz'}"], "no such file"),
    "no such data set": (lambda _: ["--dataset=mnistt"], "mnist"),
    "pickled arrays": (_pickled, "Object arrays"),
    "a header that lies": (_bomb, "cannot be read as .npz"),
    "a member outside": (_outside, "save the training examples as x_train"),
    "no images": (_npz(x_train=numbered(0)), "train is empty"),
    "NaN pixels": (_npz(x_train=np.full((9, 4, 5), np.nan)), "NaN"),
    "16 bits": (_npz(x_train=np.full((9, 4, 5), 999, np.uint16)), "999, which may be several"),
    "labels of one split": (_conditional, "no labels of test"),
    "a negative label": (_npz(x_train=numbered(9), y_train=np.arange(9) - 1), "from -1 to 7"),
    "an absurd label": (
        _npz(x_train=numbered(9), y_train=np.arange(9) * 125000),
        "at most to 65535",
    ),
    "a folder with a way out": (_way_out, "a.png is a link out of this folder"),
    "an IDX file cut short": (_idx(idx_bytes(numbered(9))[:-1]), "its header says"),
    "an IDX file of promises": (_idx(b"\0\0\x08\x03" + b"\xff" * 12), "its header says"),
    "a flagfile of bytes": (_flagfile(b"\xff\xfe\x00"), "cannot be read as text"),
    "a flagfile of itself": (_itself, "leads back to itself"),
    "a flagfile of prose": (_flagfile(b"beta is four"), "not a flag"),
    "a file for a workdir": (lambda f: [f"--workdir={f / 'images.npz'}"], "cannot be written"),
    "below a file": (lambda f: [f"--workdir={f / 'images.npz' / 'run'}"], "cannot be written"),
    "a workdir with too long a name": (lambda f: [f"--workdir={f / ('a' * 300)}"], "cannot be"),
    "a group cut short": (_group(lambda path: path.write_text("{")), "--restart"),
    "a group with a flipped bit": (_group(_flip), "group.json is damaged"),
    "a group of tomorrow": (_group(_tomorrow), "format 9, written by tomorrow's vae_jax"),
    "results without checkpoints": (
        _results_alone,
        "is no folder of vae_jax and holds results.csv",
    ),
}
TABLE = {name: (lambda _, argv=argv: argv, words) for name, (argv, words) in FLAGS.items()} | FILES


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_there_are_at_least_fifty():
    assert len(TABLE) >= 50


@pytest.mark.parametrize(("make", "words"), TABLE.values(), ids=TABLE.keys())
def test_it_is_refused_in_one_line_and_nothing_is_written(
    make, words, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    images, argv = save_images(tmp_path / "images.npz"), make(tmp_path)
    before = _files(tmp_path)
    base = [f"--dataset={images}", f"--data_dir={tmp_path / 'store'}", "--batch_size=16"]
    status = cli.main([*base, "--num_steps=2", *argv])
    out, err = capsys.readouterr()
    assert status == 2
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith("run.py: ")
    assert words in err
    assert "Traceback" not in err
    assert _files(tmp_path) == before


def _zipped(path: Path) -> None:
    """Write 64 MB of zeros, packed by gzip to less than a hundredth."""
    header = struct.pack(">HBB3I", 0, 8, 3, 2**6, 2**10, 2**10)
    path.write_bytes(gzip.compress(header + bytes(2**26)))


def _chunked(path: Path) -> None:
    """Write the header of an HDF5 file with 4 TB of pixels that are nowhere."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.create_dataset("x_train", (2**22, 2**10, 2**10), np.uint8, chunks=(1, 2**10, 2**10))


def _matlab(path: Path) -> None:
    """Write 64 MB of zeros in a MATLAB file, packed to less than a hundredth."""
    savemat = pytest.importorskip("scipy.io").savemat
    savemat(path, {"x_train": np.zeros((2**16, 2**10), np.uint8)}, do_compression=True)


BOMBS = {"train-images-idx3-ubyte.gz": _zipped, "x.h5": _chunked, "x.mat": _matlab}


@pytest.mark.parametrize("name", BOMBS.keys())
def test_what_unpacks_to_a_hundred_times_its_size_is_refused_before_it_does(
    tmp_path, monkeypatch, name
):
    monkeypatch.setattr(archive_size, "_LARGE", 2**24)
    (tmp_path / "data").mkdir()
    BOMBS[name](tmp_path / "data" / name)
    path = tmp_path / "data" if name.endswith(".gz") else tmp_path / "data" / name
    with pytest.raises(InputError, match=r"MB that unpack to .* GB, and this machine has"):
        data.load(str(path), data_dir=str(tmp_path))


def test_a_table_without_a_line_end_that_would_fill_the_memory_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "x.csv"
    path.write_text("0," * 1000)
    monkeypatch.setattr(archive_size, "_memory", lambda: 1000)
    with pytest.raises(InputError, match="that unpack to"):
        data.load(str(path), data_dir=str(tmp_path))
