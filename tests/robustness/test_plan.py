"""The plan of a study is written once, whole; what is lost of it costs no group that is whole."""

import dataclasses
import os
import shutil

import jax
import numpy as np
import pytest

from tests.robustness.conftest import STOPS_WITHIN, Study
from tests.robustness.processes import what_is_left
from vae_jax import cli, data
from vae_jax.pipeline import plan_file, run_groups, workdir
from vae_jax.pipeline.plan_file import GroupRecord, Plan
from vae_jax.runtime import checksums, files
from vae_jax.runtime.checksums import DamagedError
from vae_jax.runtime.errors import InputError

pytestmark = STOPS_WITHIN

INTERLEAVED = ["--sweep=hidden_sizes=8/9"]  # two programs, each with every second run


class KilledError(BaseException):
    """End of the process."""


def record(name: str, *runs: int, **more: object) -> GroupRecord:
    identities = tuple({"beta": "1.0", "seed": str(run)} for run in runs)
    return GroupRecord(name, runs, identities, 1, **more)


def copies(tmp_path, *records: GroupRecord, study: str = "s") -> None:
    """Write the groups' own files alone."""
    plan_file.write(tmp_path, Plan(study, records))
    (tmp_path / "checkpoints" / "plan.json").unlink()


@pytest.fixture(scope="module")
def two_programs(straight, tmp_path_factory):
    """Return a finished study of four runs in two programs, in which numbers interleave."""
    study = Study(straight, tmp_path_factory.mktemp("two") / "run", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
        assert cli.main([*study.argv, *INTERLEAVED]) == 0
    return study.workdir


@pytest.mark.parametrize("fatal", range(1, 4))
def test_killed_between_the_files_of_its_plan_a_study_is_the_straight_one(
    two_programs, fresh, monkeypatch, fatal
):
    write, count = files.write_bytes, 0

    def write_until_killed(path, data):
        nonlocal count
        write(path, data)
        count += 1
        if count == fatal:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_bytes", write_until_killed)
        with pytest.raises(KilledError):
            fresh.start(*INTERLEAVED)
    assert plan_file.read(fresh.workdir).runs == [0, 1, 2, 3]
    if fatal == 2:  # the same state whichever file is missing
        assert fresh.start(*INTERLEAVED)[0] == 0
        assert what_is_left(fresh.workdir, 2) == what_is_left(two_programs, 2)


def test_restart_trains_the_damaged_group_alone(two_programs, fresh, tmp_path, capsys):
    shutil.copytree(two_programs, fresh.workdir)
    folder = fresh.workdir / "checkpoints"
    (folder / "000" / "mine").write_text("a file of the user's")
    inode = (folder / "000" / "12").stat().st_ino
    for path in (folder / "001" / "group.json", folder / "plan.json"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    status, _, err = fresh.start(*INTERLEAVED)
    assert status == 2
    assert "checkpoints/001/group.json is damaged" in err
    status, out, _ = fresh.start(*INTERLEAVED, "--restart")
    assert status == 0
    assert out.count("finished: checkpoint") == 1
    assert (folder / "000" / "12").stat().st_ino == inode
    assert (folder / "000" / "mine").exists()
    assert (folder / "001.damaged" / "12").exists()
    assert what_is_left(fresh.workdir, 2) == what_is_left(two_programs, 2)


def test_a_folder_that_the_plan_does_not_know_is_not_taken_for_new_runs(
    two_programs, straight, study
):
    other = Study(straight, study.workdir.with_name("other"), study._capsys)
    assert other.start("--learning_rate=0.01")[0] == 0
    foreign = study.checkpoints.with_name("001")
    shutil.copytree(other.checkpoints, foreign)
    before = {path: path.read_bytes() for path in foreign.rglob("*") if path.is_file()}
    status, _, err = study.start(*INTERLEAVED)
    assert (status, err) == (0, "")
    assert {path: path.read_bytes() for path in before} == before
    assert plan_file.read(study.workdir).runs == [0, 1, 2, 3]
    assert [group.name for group in plan_file.read(study.workdir).groups] == ["000", "002"]


class TestNumbers:
    @pytest.mark.parametrize(
        "runs", [(0, 0), (1, 2), (0, 2), (-1, 0), (True, 0), ("x/../../outside", 0), (0.0, 1)]
    )
    def test_other_numbers_than_0_to_n_are_damage(self, tmp_path, runs):
        sound = record("000", 0, 1).as_json()
        plan_file.write(tmp_path, Plan("s", (record("000", 0, 1),)))
        sound["runs"] = [{"run": run, "flags": {"seed": str(run)}} for run in runs]
        path = tmp_path / "checkpoints" / "plan.json"
        facts = checksums.read(path) | {"groups": {"000": sound}}
        files.write_json(path, checksums.with_checksum(facts))
        group = tmp_path / "checkpoints" / "000" / "group.json"
        files.write_json(group, checksums.with_checksum(checksums.read(group) | sound))
        assert plan_file.read(tmp_path).lost

    def test_a_plan_with_a_gap_is_not_written(self, tmp_path):
        with pytest.raises(DamagedError):
            plan_file.write(tmp_path, Plan("s", (record("000", 0), record("001", 2))))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["..", "../x", "/tmp", "00", "1"])
    def test_a_folder_is_a_number(self, tmp_path, name):
        with pytest.raises(DamagedError):
            GroupRecord.from_json(name, record("000", 0).as_json())


class TestCopies:
    def test_the_plan_comes_back_from_the_groups(self, tmp_path):
        groups = record("000", 0, 2), record("001", 1, 3, most_steps=64)
        copies(tmp_path, *groups)
        found = plan_file.read(tmp_path)
        assert (found.study, found.groups, found.lost) == ("s", groups, ())
        assert "anew" in found.notes[0]

    def test_what_a_process_left_that_lost_its_workdir_is_no_group(self, tmp_path):
        (tmp_path / "checkpoints" / "000" / "8.abc.partial" / "state").mkdir(parents=True)
        (tmp_path / "checkpoints" / "000" / "8.abc.partial" / "state" / "d").write_text("x")
        assert plan_file.read(tmp_path) is None
        workdir.refuse_foreign(tmp_path)

    def test_half_a_plan_is_lost(self, tmp_path):
        copies(tmp_path, record("000", 0, 2), record("001", 1))
        shutil.rmtree(tmp_path / "checkpoints" / "001")
        found = plan_file.read(tmp_path)
        assert found.groups == (record("000", 0, 2),)
        assert dict(found.lost).keys() == {"plan.json"}

    def test_groups_that_claim_one_number_are_lost(self, tmp_path):
        copies(tmp_path, record("000", 0, 1))
        os.rename(tmp_path / "checkpoints" / "000", tmp_path / "checkpoints" / "001")
        copies(tmp_path, record("000", 0))
        assert dict(plan_file.read(tmp_path).lost).keys() == {"000", "001"}

    def test_groups_of_another_study_are_lost(self, tmp_path):
        copies(tmp_path, record("000", 0), record("001", 1))
        path = tmp_path / "checkpoints" / "001" / "group.json"
        facts = checksums.read(path) | {"study": "another"}
        files.write_json(path, checksums.with_checksum(facts))
        assert dict(plan_file.read(tmp_path).lost).keys() == {"001"}

    def test_a_bound_on_the_chunks_is_in_both(self, tmp_path):
        plan_file.write(tmp_path, Plan("s", (record("000", 0),)))
        plan_file.settle_most_steps(tmp_path, "000", 64)
        for name in ("plan.json", "000/group.json"):
            whole = tmp_path / "checkpoints" / name
            content = whole.read_bytes()
            whole.unlink()
            assert plan_file.read(tmp_path).groups[0].most_steps == 64
            whole.write_bytes(content)

    def test_what_all_runs_share_is_written_once(self, tmp_path):
        plan_file.write(tmp_path, Plan("s", (record("000", *range(1000)),)))
        content = (tmp_path / "checkpoints" / "plan.json").read_text()
        assert content.count("beta") == 1
        assert plan_file.read(tmp_path).groups[0].identities[7] == {"beta": "1.0", "seed": "7"}


@pytest.mark.parametrize("name", [f"{a}_{s}" for a in "xy" for s in ("train", "valid", "test")])
def test_each_split_and_its_labels_decide_what_the_data_are(straight, tmp_path, name):
    arrays = dict(np.load(straight / "images.npz"))
    labels = {f"y_{n[2:]}": np.arange(len(images)) % 3 for n, images in arrays.items()}

    def fingerprint(change: int) -> str:
        changed = {n: array.copy() for n, array in (arrays | labels).items()}
        changed[name].flat[0] += change
        np.savez(tmp_path / "d.npz", **changed)
        return run_groups.facts_of(data.load(str(tmp_path / "d.npz")))["data"]

    assert fingerprint(1) != fingerprint(0) == fingerprint(0)


@pytest.mark.parametrize("num_columns", [6, 1200])
def test_statistics_of_standardized_data_are_theirs_however_numpy_prints(tmp_path, num_columns):
    rng = np.random.default_rng(0)
    arrays = {f"x_{s}": rng.normal(3.3, 2.7, (9, num_columns)) for s in ("train", "valid", "test")}
    np.savez(tmp_path / "d.npz", **arrays)
    dataset = data.load(str(tmp_path / "d.npz"), encoding="standardized")
    before = run_groups.facts_of(dataset)
    with np.printoptions(precision=2, suppress=True, threshold=3, edgeitems=1):
        assert run_groups.facts_of(dataset) == before
    mean = dataset.standardization.mean.copy()
    mean[num_columns // 2] += 1
    other = dataclasses.replace(
        dataset, standardization=dataset.standardization._replace(mean=mean)
    )
    assert run_groups.facts_of(other) != before


def test_the_same_data_elsewhere_are_the_same_run(study, tmp_path, monkeypatch):
    (tmp_path / "moved").mkdir()
    shutil.copy(study.argv[0].partition("=")[2], tmp_path / "moved" / "renamed.npz")
    monkeypatch.chdir(tmp_path / "moved")
    status, out, err = study.start("--dataset=renamed.npz")
    assert (status, err) == (0, "")
    assert "finished: checkpoint at step 12" in out
    assert "changed since the last start: dataset" in out


def test_other_data_of_the_same_name_are_refused(study, tmp_path):
    arrays = dict(np.load(study.argv[0].partition("=")[2]))
    arrays["x_test"] = 255 - arrays["x_test"]
    np.savez(tmp_path / "images.npz", **arrays)
    status, _, err = study.start(f"--dataset={tmp_path / 'images.npz'}")
    assert status == 2
    assert "data=64 train, 8 valid, 16 test, crc32 " in err


def test_other_random_bits_are_another_run(study):
    before = jax.config.jax_threefry_partitionable
    try:
        jax.config.update("jax_threefry_partitionable", not before)
        status, _, err = study.start()
    finally:
        jax.config.update("jax_threefry_partitionable", before)
    assert status == 2
    assert f"jax_threefry_partitionable={before}" in err


def test_a_checkpoint_of_another_study_is_not_used(straight, study):
    other = Study(straight, study.workdir.with_name("other"), study._capsys)
    assert other.start("--learning_rate=0.01")[0] == 0
    shutil.rmtree(study.checkpoints / "12")
    shutil.copytree(other.checkpoints / "12", study.checkpoints / "12")
    status, out, _ = study.start()
    assert status == 0
    assert "checkpoint at step 12: it was written for other runs, or by another study" in out
    assert "going back to step 8" in out
    study.assert_whole()


def test_more_lines_than_a_checkpoint_knows_are_damage(study):
    path = study.workdir / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, *lines[-2:]]))
    status, out, _ = study.start()
    assert status == 0
    assert "metrics.jsonl has 2 lines more than there were; going back to step 8" in out
    study.assert_whole()


def test_a_gap_in_the_lines_of_one_run_is_no_surplus_of_another(study):
    path = study.workdir / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    assert study.start()[0] == 0
    status, out, _ = study.start("--num_steps=16")
    assert status == 0
    status, out, _ = study.start("--num_steps=20")
    assert (status, "more than there were" in out) == (0, False)
    assert "resuming: checkpoint at step 16 of 20" in out


def test_another_format_names_the_version_that_wrote_it(tmp_path):
    facts = {"format": 2, "written_by": "before", "runs": []}
    (tmp_path / "checkpoints" / "000").mkdir(parents=True)
    path = tmp_path / "checkpoints" / "000" / "group.json"
    files.write_json(path, checksums.with_checksum(facts))
    with pytest.raises(InputError, match="holds format 2, written by before"):
        plan_file.read(tmp_path)
