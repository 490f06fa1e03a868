"""Files that were cut, changed or lost: undamaged ones are used, with a message, none guessed."""

import ast
import contextlib
import json
import os
import random
import shutil
from pathlib import Path

import pytest

from vae_jax.pipeline import workdir
from vae_jax.pipeline.load import load_run
from vae_jax.runtime import checksums
from vae_jax.runtime.errors import InputError
from vae_jax.training import checkpoint


def _flip(path: Path, seed: int = 0) -> None:
    """Change one bit."""
    content, chance = bytearray(path.read_bytes()), random.Random(seed)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(content))


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {"a flipped bit": _flip, "cut in half": _halve, "missing": Path.unlink}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_to_any_file_of_a_checkpoint_is_noticed(straight, tmp_path, damage):
    source = straight / "run" / "checkpoints" / "000" / "12"
    assert checksums.verify(source)["lines"] == [3, 3]
    names = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    assert len(names) > 5
    for number, name in enumerate(names):
        copy = shutil.copytree(source, tmp_path / str(number))
        damage(copy / name)
        with pytest.raises(checksums.DamagedError, match=name.name):
            checksums.verify(copy)


def test_every_single_flipped_bit_of_a_group_file_is_noticed(straight, tmp_path):
    content = (straight / "run" / "checkpoints" / "000" / "group.json").read_bytes()
    path, facts = tmp_path / "group.json", json.loads(content)
    for i in range(0, len(content), 3):
        path.write_bytes(content[:i] + bytes([content[i] ^ (1 << i % 8)]) + content[i + 1 :])
        try:  # a changed space between two words of JSON says the same
            assert {**checksums.read(path), "digest": facts["digest"]} == facts
        except checksums.DamagedError:
            continue


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(study, damage):
    newest = study.checkpoints / "12"
    data = max((newest / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    damage(data)
    status, out, err = study.start()
    assert (status, err) == (0, "")
    assert f"NOTE: checkpoint at step 12: {data.relative_to(newest)} is " in out
    assert "going back to step 8" in out
    study.assert_whole()
    assert (study.checkpoints / "12.damaged").is_dir()


def test_without_a_whole_checkpoint_nothing_is_trained_anew_before_restart_is_given(study):
    for step in checkpoint.steps(study.checkpoints):
        _flip(study.checkpoints / str(step) / "state" / "_METADATA")
    study.assert_refused("runs 0 to 1 cannot go on", "checkpoint at step 12", "--restart")
    status, out, _ = study.start("--restart")
    assert status == 0
    assert "training runs 0 to 1 anew" in out
    study.assert_whole()


def test_runs_with_results_but_without_checkpoints_need_restart(study):
    for step in checkpoint.steps(study.checkpoints):
        shutil.rmtree(study.checkpoints / str(step))
    study.assert_refused("no checkpoint is left of runs that have results", "--restart")
    assert study.start("--restart")[0] == 0
    study.assert_whole()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_without_both_of_its_descriptions_a_group_is_not_guessed(study, damage):
    damage(study.checkpoints / "group.json")
    damage(study.checkpoints.parent / "plan.json")
    study.assert_refused("group.json is ", "--restart")
    status, out, _ = study.start("--restart")
    assert status == 0
    assert "training its runs anew" in out
    assert checkpoint.steps(study.checkpoints.with_name("000.damaged")) == [8, 12]
    study.assert_whole()


@pytest.mark.parametrize("name", ["plan.json", "000/group.json"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_one_of_two_descriptions_is_written_anew_from_the_other(study, damage, name):
    path = study.checkpoints.parent / name
    content = path.read_bytes()
    damage(path)
    status, out, err = study.start()
    assert (status, err) == (0, "")
    assert ("anew from" in out) == (path.name == "plan.json" or damage is not Path.unlink)
    assert "finished: checkpoint at step 12" in out
    assert path.read_bytes() == content
    study.assert_whole()


def test_restart_does_not_touch_what_is_whole(study):
    before = (study.workdir / "metrics.jsonl").read_bytes()
    status, out, _ = study.start("--restart")
    assert status == 0
    assert "finished: checkpoint at step 12" in out
    assert (study.workdir / "metrics.jsonl").read_bytes() == before
    assert "--restart=False" in (study.workdir / "flags.txt").read_text().splitlines()


def test_a_checkpoint_half_written_is_passed_over(study):
    shutil.rmtree(study.checkpoints / "12")
    shutil.copytree(study.checkpoints / "8", study.checkpoints / "12.partial")
    status, out, _ = study.start()
    assert status == 0
    assert "resuming: checkpoint at step 8 of 12" in out
    study.assert_whole()
    assert {path.name for path in study.checkpoints.iterdir()} == {"group.json", "8", "12"}


@pytest.mark.parametrize("lost", [1, 60, 400])
def test_metrics_that_were_cut_come_back_from_the_checkpoint_before(study, lost):
    path = study.workdir / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-lost])
    status, out, _ = study.start()
    assert status == 0
    assert ("lacks" in out) == (lost > 1)
    study.assert_whole()


def test_lines_that_no_checkpoint_brings_back_are_reported(study):
    path = study.workdir / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([b"\xff{" + lines[0][3:], *lines[1:]]))
    status, out, _ = study.start()
    assert status == 0
    assert "metrics.jsonl lacks 1 lines that were there; going on with this gap" in out
    assert path.read_bytes() == b"".join(lines[1:])


def test_without_its_metrics_a_finished_study_is_not_evaluated(study):
    (study.workdir / "metrics.jsonl").unlink()
    study.assert_refused("metrics.jsonl lacks 6 lines", "--restart")


def test_nothing_that_is_loaded_can_run_code():
    package = Path(checkpoint.__file__).parents[1]
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(tree)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found |= {getattr(node, "module", ""), *(alias.name for alias in node.names)}
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                found.add(f"allow_pickle={ast.unparse(node.value)}")
        dangerous = {"pickle", "marshal", "shelve", "eval", "exec", "allow_pickle=True"}
        assert not found & dangerous, path


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


NO_FILE = {"a pipe": _pipe, "a folder": _folder}
READ_BY_ALL = ["checkpoints/plan.json", "checkpoints/000/group.json", "checkpoints/study.json"]
READ_BY_ALL += ["results.json", "metrics.jsonl", "flags.txt", "init_from.json"]


@pytest.mark.parametrize("damage", NO_FILE.values(), ids=NO_FILE.keys())
@pytest.mark.parametrize("name", READ_BY_ALL)
def test_what_is_no_file_is_not_waited_for_and_is_one_line_in_python_too(study, damage, name):
    damage(study.workdir / name)
    problem = ""
    try:
        assert len(load_run(study.workdir)) == 2
    except InputError as error:
        problem = str(error)
    assert not problem or (problem.startswith("workdir=") and name in problem)


@pytest.mark.parametrize("name", READ_BY_ALL)
def test_a_device_without_an_end_is_not_read(study, name):
    (study.workdir / name).unlink(missing_ok=True)
    (study.workdir / name).symlink_to("/dev/zero")
    with contextlib.suppress(InputError):
        assert len(load_run(study.workdir)) == 2


JSON = ["", "{", "[]", "null", "5", "[" * 10**5, "9" * 5000, '{"runs": 5}', '{"runs": [{}]}']
JSON += ['{"runs": [{"run": "0"}]}', '{"swept": [1]}', '{"init_from": {"run": 0}}']


@pytest.mark.parametrize("text", JSON, ids=range(len(JSON)))
def test_results_of_other_types_are_damage(study, text):
    path = study.workdir / "results.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"results\.json is damaged; start its command again"):
        load_run(study.workdir)
    assert study.start()[0] == 0
    assert len(load_run(study.workdir).table) == 2


@pytest.mark.parametrize("text", JSON, ids=range(len(JSON)))
def test_a_damaged_record_of_an_origin_is_none(tmp_path, text):
    (tmp_path / "init_from.json").write_text(text)
    assert workdir.read_origin(tmp_path) == {}


TABLES = {
    "a cell without end": 'run\n"' + "x" * 200_000,
    "a number without end": "run\n" + "9" * 5000,
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES.keys())
def test_a_damaged_table_is_written_anew(study, text):
    (study.workdir / "results.csv").write_text(text)
    assert study.start()[0] == 0
    study.assert_whole()


def test_the_place_that_an_error_names_is_the_one_to_mend(study):
    _folder(study.workdir / "results.json")
    status, _, err = study.start()
    assert status == 2
    assert f"cannot be written (Is a directory at {study.workdir / 'results.json'})" in err


@pytest.mark.parametrize("content", [bytes(60), b"proc", b"process 7 on elsewh"])
def test_a_lock_that_a_loss_of_power_left_is_taken_over(study, content):
    (study.workdir / ".lock").write_bytes(content)
    assert study.start()[0] == 0
    study.assert_whole()
