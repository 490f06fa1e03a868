"""Mistakes are one line and status 2 and change nothing; data that cannot be loaded too."""

import pytest
import requests

from tests.pipeline.small import SHORT, SMALL, read_json, save_images
from vae_jax import cli


def _assert_refused(answer: tuple[int, str, str], *words: str) -> None:
    status, _, err = answer
    assert status == 2
    assert len(err.splitlines()) == 1
    assert err.startswith("run.py: --")
    for word in words:
        assert word in err


def test_other_flags_in_a_workdir_are_refused(finished, capsys):
    flags = (finished / "flags.txt").read_bytes()
    argv = [f"--flagfile={finished / 'flags.txt'}", "--beta=4", "--seed=1"]
    answer = cli.main(argv), *capsys.readouterr()
    _assert_refused(answer, f"--workdir={finished}: ", "beta=1.0 there but 4.0 now", "seed=0 there")
    assert "num_steps" not in answer[2]
    assert (finished / "flags.txt").read_bytes() == flags


def test_fewer_steps_than_are_done_are_refused(finished, capsys):
    flags = (finished / "flags.txt").read_bytes()
    argv = [f"--flagfile={finished / 'flags.txt'}", "--num_steps=6"]
    _assert_refused((cli.main(argv), *capsys.readouterr()), "--num_steps=6: ", "holds 12 updates")
    assert (finished / "flags.txt").read_bytes() == flags


def test_another_length_of_a_cosine_is_another_run(start):
    start(*SHORT, "--schedule=cosine")
    answer = start(*SHORT, "--schedule=cosine", "--num_steps=16")
    _assert_refused(answer, "num_steps=12 there but 16 now")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--batch_size=81"], "--batch_size=81: exceeds the 80 training examples"),
        (["--dataset=no.npz"], "--dataset=no.npz: no such file"),
        (["--beta=-1"], "--beta=-1: must be"),
        (["--betta=1"], "--betta: unknown flag; did you mean --beta?"),
        (["--num_valid=3"], "--num_valid=3: has no effect"),
        (["--flagfile=none.flags"], "--flagfile=none.flags: no such file"),
    ],
)
def test_bad_input_is_refused_in_one_line(start, tmp_path, argv, words):
    _assert_refused(start(*SMALL, *argv), words)
    assert not (tmp_path / "run").exists()


def test_binarizing_binary_images_is_refused(start, tmp_path):
    images = save_images(tmp_path, "binary.npz", is_binary=True)
    answer = start(*SHORT, f"--dataset={images}", "--binarize=static")
    _assert_refused(answer, "--binarize=static: has no effect", "--binarize=none")


@pytest.mark.parametrize("name", ["gray.npz", "gray.npz/below", "a" * 300])
def test_a_workdir_that_cannot_be_written_is_refused(start, tmp_path, name):
    _assert_refused(start(*SMALL, f"--workdir={tmp_path / name}"), "cannot be written")


def test_help_is_no_mistake(capsys):
    assert cli.main(["--beta=x", "--help"]) == 0
    assert "--latent_size=20" in capsys.readouterr().out


def test_a_substitution_is_reported_everywhere(start, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise requests.ConnectionError("simulated")

    monkeypatch.setattr(requests, "get", refuse)
    images = tmp_path / "gray.npz"
    wanted = ["--dataset=mnist", f"--data_dir={tmp_path / 'store'}"]
    _assert_refused(start(*SMALL, *wanted), "--dataset=mnist: cannot be downloaded")
    status, out, err = start(*SMALL, *wanted, f"--offline_dataset={images}", "--num_steps=1")
    assert (status, err) == (0, "")
    record = read_json(tmp_path / "run")["dataset"]
    assert (record["asked"], record["used"]) == ("mnist", str(images))
    assert record["substitution"].startswith("--dataset=mnist cannot be had (")
    assert f"NOTE: {record['substitution']}" in out.splitlines()[:3]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "These are not the data that were asked for" in page
    assert "--dataset=mnist</code> cannot be had (" in page
