"""The command line from end to end, in process, on images of 4x5 pixels."""

import csv
import json
import re
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import requests

import vae_jax
from tests.oracles import tiny_data
from vae_jax import checkpoint, cli, feed, figures, loop, results
from vae_jax.assessments import ASSESSMENTS

CONTRACT = [
    *("run", "beta", "latent_size", "learning_rate", "seed", "step", "diverged"),
    *("test_elbo", "test_log_likelihood", "test_kl", "test_nll", "test_nll_se"),
    *("eval_particles", "active_units"),
]
README = Path(vae_jax.__file__).parent.parent / "README.md"
SMALL = ["--batch_size=16", "--hidden_sizes=8", "--latent_size=3", "--eval_particles=3"]
SHORT = [*SMALL, "--num_steps=12", "--eval_every=4", "--checkpoint_every=4"]


def gray_images(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pattern = np.random.default_rng(0).uniform(size=(1, 4, 5))
    return (255 * pattern * rng.uniform(size=(count, 4, 5))).astype(np.uint8)


def save_images(folder: Path, name: str = "gray.npz", *, is_binary: bool = False) -> Path:
    parts = {"x_train": (80, 1), "x_valid": (10, 2), "x_test": (23, 3)}
    arrays = {key: gray_images(*arguments) for key, arguments in parts.items()}
    if is_binary:
        arrays = {key: np.uint8(255) * (images > 40) for key, images in arrays.items()}
    np.savez(folder / name, **arrays)
    return folder / name


def read_csv(workdir: Path) -> list[dict[str, str]]:
    with (workdir / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def read_json(workdir: Path) -> dict:
    return json.loads((workdir / "results.json").read_text())


def read_metrics(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def without_seconds(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def saved_arrays(workdir: Path, step: int) -> list[np.ndarray]:
    folder = (workdir / "checkpoints" / "000" / str(step) / "state").absolute()
    return [
        np.asarray(leaf) for leaf in jax.tree.leaves(ocp.StandardCheckpointer().restore(folder))
    ]


@pytest.fixture(autouse=True)
def _single_precision_afterwards():
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def no_figures(monkeypatch):
    """Tests that look at numbers need not wait for pictures."""
    monkeypatch.setattr(figures, "draw", lambda *args, **kwargs: [])


@pytest.fixture
def start(tmp_path, capsys, no_figures):
    """Run the command line on gray images; gives status, stdout and stderr."""
    images = save_images(tmp_path)

    def run(*argv: str) -> tuple[int, str, str]:
        status = cli.main([f"--dataset={images}", f"--workdir={tmp_path / 'run'}", *argv])
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run with its figures, read by several tests and changed by none."""
    folder = tmp_path_factory.mktemp("finished")
    images = save_images(folder)
    assert cli.main([f"--dataset={images}", f"--workdir={folder / 'run'}", *SHORT]) == 0
    return folder / "run"


# What a finished run leaves.


def test_the_workdir_is_complete(finished):
    files = {path.name for path in finished.iterdir()}
    assert files >= {"flags.txt", "metrics.jsonl", "results.csv", "results.json", "report.html"}
    assert any((finished / "tensorboard").rglob("events*"))
    figures = {path.stem for path in (finished / "figures").glob("*.png")}
    expected = ("training_curves", "reconstructions", "samples", "interpolations", "kl_per_latent")
    assert figures == {*expected, "traversals"}
    checkpoints = {path.name for path in (finished / "checkpoints" / "000").iterdir()}
    assert checkpoints == {"group.json", "8", "12"}


def test_the_seconds_to_the_first_update_are_told_and_stored(start, tmp_path):
    _, out, _ = start(*SHORT)
    (told,) = re.findall(r"first update ([0-9.]+) s after the command", out)
    stored = json.loads((tmp_path / "run" / "results.json").read_text())["seconds"]
    assert stored["command to first update"] == pytest.approx(float(told), abs=0.06)


def test_results_csv_has_the_columns_of_the_contract(finished):
    (row,) = read_csv(finished)
    assert tuple(row) == (*results.COLUMNS, *ASSESSMENTS["nll"].columns)
    assert [name for name in row if name in CONTRACT] == CONTRACT
    settings = ("run", "beta", "latent_size", "learning_rate", "seed", "step", "diverged")
    assert [row[name] for name in settings] == ["0", "1.0", "3", "0.001", "0", "12", ""]
    assert row["eval_particles"] == "3"


def test_the_terms_of_results_csv_agree_with_each_other(finished):
    (row,) = (
        {name: float(value or "nan") for name, value in row.items()} for row in read_csv(finished)
    )
    assert row["test_elbo"] == pytest.approx(row["test_log_likelihood"] - row["test_kl"], abs=1e-4)
    assert -row["test_nll"] >= row["test_elbo"] - 4 * row["test_nll_se"]
    assert 0 <= row["active_units"] <= 3


def test_metrics_hold_a_line_per_visit(finished):
    rows = read_metrics(finished)
    assert [row["step"] for row in rows] == [4, 8, 12]
    for row in rows:
        assert {"run", "seconds", "train_elbo", "train_kl", "valid_elbo", "valid_kl"} <= set(row)
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_results_json_says_where_the_numbers_come_from(finished):
    found = read_json(finished)
    assert found["dataset"]["num_train"] == 80
    assert found["dataset"]["image_shape"] == [4, 5, 1]
    assert not found["dataset"]["substitution"]
    assert set(found["versions"]) >= {"python", "jax", "flax"}
    assert set(found["seconds"]) >= {"train", "evaluate", "compile"}
    assert found["flags"]["hidden_sizes"] == "8"
    assert "nats per example" in found["units"]
    assert len(found["kl_per_latent"][0]) == 3
    assert float(read_csv(finished)[0]["test_nll"]) == found["runs"][0]["test_nll"]


def test_the_report_stands_alone_and_tells_how_to_repeat_it(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert f"python run.py --flagfile={finished}/flags.txt" in page
    assert page.count("data:image/png;base64,") == 6
    assert not re.search(r"(src|href)=['\"]https?:", page)


def test_gray_targets_are_remarked_upon(finished):
    (note,) = read_json(finished)["notes"]
    assert "targets are gray" in note
    assert "targets are gray" in (finished / "report.html").read_text(encoding="utf-8")


def test_its_own_flags_repeat_a_run(finished, tmp_path, no_figures):
    flags = [f"--flagfile={finished / 'flags.txt'}", f"--workdir={tmp_path / 'again'}"]
    assert cli.main(flags) == 0
    assert without_seconds(read_csv(tmp_path / "again")) == without_seconds(read_csv(finished))


# Started again.


def test_a_finished_run_is_not_trained_again(start, tmp_path, monkeypatch):
    start(*SHORT)
    written = (tmp_path / "run" / "results.csv").read_bytes()
    metrics = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    monkeypatch.setattr(checkpoint.Checkpoints, "save", _interrupt)
    status, out, err = start(*SHORT)
    assert (status, err) == (0, "")
    assert "finished: checkpoint at step 12 of 12" in out
    assert (tmp_path / "run" / "results.csv").read_bytes() == written
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == metrics


def _interrupt(*args):
    raise KeyboardInterrupt


def test_a_longer_run_is_the_straight_one(start, tmp_path):
    straight = f"--workdir={tmp_path / 'straight'}"
    assert start(*SHORT, straight)[0] == 0
    assert start(*SHORT, "--num_steps=8")[0] == 0
    status, out, _ = start(*SHORT)
    assert status == 0
    assert "resuming: checkpoint at step 8 of 12" in out
    _assert_same_run(tmp_path / "run", tmp_path / "straight")


def test_a_killed_run_goes_on_from_its_last_checkpoint(start, tmp_path, monkeypatch):
    straight = f"--workdir={tmp_path / 'straight'}"
    assert start(*SHORT, "--binarize=dynamic", straight)[0] == 0
    save = checkpoint.Checkpoints.save

    def save_until_killed(self, step, *arguments):
        return save(self, step, *arguments) if step < 8 else _interrupt()

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", save_until_killed)
        with pytest.raises(KeyboardInterrupt):
            start(*SHORT, "--binarize=dynamic")
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [4, 8]
    assert not (tmp_path / "run" / "results.csv").exists()
    _, out, _ = start(*SHORT, "--binarize=dynamic")
    assert "resuming: checkpoint at step 4 of 12" in out
    _assert_same_run(tmp_path / "run", tmp_path / "straight")


def _assert_same_run(resumed: Path, straight: Path) -> None:
    """The same to the last bit, but for the time that it took."""
    left, right = saved_arrays(resumed, 12), saved_arrays(straight, 12)
    assert len(left) > 10
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)
    assert without_seconds(read_csv(resumed)) == without_seconds(read_csv(straight))
    assert without_seconds(read_metrics(resumed)) == without_seconds(read_metrics(straight))


def test_what_is_not_trained_may_change(start, tmp_path):
    start(*SHORT)
    status, out, _ = start(*SHORT, "--eval_particles=5", "--chunk_steps=2")
    assert status == 0
    assert "finished" in out
    assert read_csv(tmp_path / "run")[0]["eval_particles"] == "5"


def test_how_often_the_host_looks_changes_no_bit(start, tmp_path):
    odd = [*SMALL, "--num_steps=12", "--chunk_steps=5", "--eval_every=3", "--checkpoint_every=7"]
    assert start(*SHORT, "--binarize=dynamic")[0] == 0
    assert start(*odd, "--binarize=dynamic", f"--workdir={tmp_path / 'odd'}")[0] == 0
    left, right = saved_arrays(tmp_path / "run", 12), saved_arrays(tmp_path / "odd", 12)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [without_seconds(read_csv(folder)) for folder in (tmp_path / "run", tmp_path / "odd")]
    for (row,) in rows:  # means over the updates since the last look, so they depend on it
        assert row.pop("train_elbo")
    assert rows[0] == rows[1]


def test_a_run_goes_on_streaming_where_it_began_on_the_device(start, tmp_path, monkeypatch):
    flags = [*SHORT, "--binarize=dynamic"]
    monkeypatch.setattr(feed, "PIECE_BYTES", 3 * 16 * 20)
    assert start(*flags)[0] == 0
    again = [*flags, f"--workdir={tmp_path / 'again'}"]
    assert start(*again, "--num_steps=5", "--data_on_device=yes")[0] == 0
    assert start(*again, "--data_on_device=no")[0] == 0
    left, right = saved_arrays(tmp_path / "run", 12), saved_arrays(tmp_path / "again", 12)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_differs_from_the_last_start_is_listed(start):
    start(*SHORT, "--num_steps=8")
    _, out, _ = start(*SHORT, "--chunk_steps=2")
    told = [line for line in out.splitlines() if line.startswith("changed since the last start: ")]
    assert [line.partition(": ")[2] for line in told] == [
        "num_steps 8 -> 12",
        "chunk_steps 500 -> 2",
    ]
    _, out, _ = start(*SHORT, "--chunk_steps=2")
    assert "changed since" not in out


@pytest.mark.parametrize(("pace", "steps"), [(1e-3, [4, 8, 12]), (6.0, list(range(1, 13)))])
def test_slow_updates_are_visited_more_often_for_as_long_as_the_run_lives(
    start, tmp_path, monkeypatch, pace, steps
):
    monkeypatch.setattr(loop._Chunks, "seconds_per_step", lambda *_: pace)
    _, out, _ = start(*SHORT, "--num_steps=6")
    assert ("updates are slow here: visits after at most 1 of them" in out) == (pace > 1)
    monkeypatch.setattr(loop._Chunks, "seconds_per_step", lambda *_: 1e-9)
    start(*SHORT)
    seen = [row["step"] for row in read_metrics(tmp_path / "run")]
    assert seen == sorted({*steps, *([6] if pace < 1 else [])})


# Mistakes: one line, status 2, nothing changed.


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
        (["--batch_size=81"], "--batch_size=81: exceeds the 80 training images"),
        (["--dataset=no.npz"], "--dataset=no.npz: no such file"),
        (["--beta=-1"], "--beta=-1: must be"),
        (["--betta=1"], "--betta: unknown flag; did you mean --beta?"),
        (["--num_valid=3"], "--num_valid=3: has no effect"),
        (["--flagfile=none.flags"], "--flagfile=none.flags: no such file"),
    ],
)
def test_bad_input_is_told_in_one_line(start, tmp_path, argv, words):
    _assert_refused(start(*SMALL, *argv), words)
    assert not (tmp_path / "run").exists()


def test_binarizing_binary_images_is_refused(start, tmp_path):
    images = save_images(tmp_path, "binary.npz", is_binary=True)
    answer = start(*SHORT, f"--dataset={images}", "--binarize=static")
    _assert_refused(answer, "--binarize=static: has no effect", "--binarize=none")


@pytest.mark.parametrize("place", ["gray.npz", "gray.npz/below", "a" * 300])
def test_a_workdir_that_cannot_be_written_is_refused(start, tmp_path, place):
    _assert_refused(start(*SMALL, f"--workdir={tmp_path / place}"), "cannot be written")


def test_help_is_no_mistake(capsys):
    assert cli.main(["--beta=x", "--help"]) == 0
    assert "--latent_size=20" in capsys.readouterr().out


# Data that cannot be had.


def test_a_substitution_is_said_everywhere(start, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise requests.ConnectionError("simulated")

    monkeypatch.setattr(requests, "get", refuse)
    images = tmp_path / "gray.npz"
    asked = ["--dataset=mnist", f"--data_dir={tmp_path / 'store'}"]
    _assert_refused(start(*SMALL, *asked), "--dataset=mnist: cannot be downloaded")
    status, out, err = start(*SMALL, *asked, f"--offline_dataset={images}", "--num_steps=1")
    assert (status, err) == (0, "")
    record = read_json(tmp_path / "run")["dataset"]
    assert (record["asked"], record["used"]) == ("mnist", str(images))
    assert record["substitution"].startswith("--dataset=mnist cannot be had (")
    assert f"NOTE: {record['substitution']}" in out.splitlines()[:3]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "These are not the data that were asked for" in page
    assert "--dataset=mnist cannot be had (" in page


# Other models.


def test_two_latents_are_drawn_as_a_plane(tmp_path):
    images, workdir = save_images(tmp_path), tmp_path / "run"
    argv = [*SMALL, "--latent_size=2", "--num_steps=2", f"--workdir={workdir}"]
    assert cli.main([f"--dataset={images}", *argv]) == 0
    figures = {path.name for path in (workdir / "figures").iterdir()}
    assert "manifold.png" in figures
    assert "traversals.png" not in figures


def test_double_precision_is_double_everywhere(start, tmp_path):
    assert start(*SMALL, "--num_steps=2", "--compute_dtype=float64")[0] == 0
    kinds = {array.dtype.name for array in saved_arrays(tmp_path / "run", 2)}
    assert "float64" in kinds
    assert "float32" not in kinds
    found = read_json(tmp_path / "run")
    assert (found["precision"], found["matmul_precision"]) == ("float64", "default")


def test_bfloat16_keeps_its_state_in_single_precision(start, tmp_path):
    assert start(*SMALL, "--num_steps=2", "--compute_dtype=bfloat16")[0] == 0
    kinds = {array.dtype.name for array in saved_arrays(tmp_path / "run", 2)}
    assert kinds == {"float32", "int32"}


def test_a_convolutional_network_on_binary_images(start, tmp_path):
    images = save_images(tmp_path, "binary.npz", is_binary=True)
    argv = ["--network=conv", "--channels=2,3", f"--dataset={images}", "--num_steps=2"]
    status, _, err = start(*SMALL, *argv)
    assert (status, err) == (0, "")
    assert read_json(tmp_path / "run")["notes"] == []
    assert float(read_csv(tmp_path / "run")[0]["test_nll"]) > 0


def test_a_diverged_run_is_reported_not_hidden(start, tmp_path):
    status, _, err = start(*SHORT, "--learning_rate=1e30")
    assert (status, err) == (0, "")
    (row,) = read_csv(tmp_path / "run")
    assert 0 <= int(row["diverged"]) < 12
    assert row["test_elbo"] == ""
    assert "diverged" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


# The Python interface, as its users are told to use it.


def _run_example(code: str, monkeypatch) -> dict:
    """Execute an example with small data, few steps and few particles."""
    monkeypatch.setattr(vae_jax, "load", lambda *args, **kwargs: tiny_data(200))
    assert len([line for line in code.splitlines() if line.strip()]) < 10
    short = re.sub(r"num_steps=[\d_]+", "num_steps=3", code)
    names: dict = {}
    exec(re.sub(r"num_particles=[\d_]+", "num_particles=2", short), names)
    return names


def test_the_example_of_the_docstring_runs(monkeypatch):
    code = "import vae_jax\n" + vae_jax.__doc__.partition("::\n")[2].replace("\n    ", "\n")
    (row,) = _run_example(code, monkeypatch)["table"]
    assert row["eval_particles"] == 2
    assert row["nll"] > 0


@pytest.mark.skipif(not README.exists(), reason="no README.md")
def test_the_example_of_the_readme_runs(monkeypatch):
    text = README.read_text(encoding="utf-8")
    found = _run_example(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], monkeypatch)
    assert [row["beta"] for row in found["study"].table] == [1.0, 4.0]
    assert all(row["eval_particles"] == 2 for row in found["study"].table)
    assert found["images"].shape == (16, 3, 4, 1)
