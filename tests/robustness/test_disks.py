"""Real file systems that are read-only or too small, and a process that may open few files."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.robustness.processes import ENVIRONMENT, ROOT, what_is_left
from vae_jax.training import checkpoint

_MAIN = """
import shutil, subprocess, sys
from pathlib import Path
from vae_jax import cli
from vae_jax.reporting import figures

figures.draw = figures.draw_study = lambda *_, **__: []
disk, *argv = sys.argv[1:]
argv += [f"--workdir={disk}/run"]
print(cli.main(argv), flush=True)
subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
assert list(Path(disk).iterdir()) == []
print(cli.main(argv), flush=True)
subprocess.run(["mount", "-o", "remount,size=10M", disk], check=True)
print(cli.main(argv), flush=True)
shutil.copytree(f"{disk}/run", f"{disk}-kept")
"""
_IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def _mounted(disk: Path, options: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command with a file system in memory on a folder, which only its processes see."""
    disk.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o {options} tmpfs "$0" && exec "$@"'
    return subprocess.run(
        [*_IN_A_NAMESPACE, script, str(disk), *command],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_read_only_disk_and_a_full_one_are_one_line_and_lose_nothing(straight, fresh, tmp_path):
    """Test both disks with one process, because a process takes seconds to start."""
    if shutil.which("unshare") is None or _mounted(tmp_path / "try", "ro", ["true"]).returncode:
        pytest.skip("this machine lets no ordinary process mount a file system (unshare --user)")
    disk = tmp_path / "disk"
    argv = [argument for argument in fresh.argv if not argument.startswith("--workdir=")]
    done = _mounted(disk, "size=120k,ro", [sys.executable, "-c", _MAIN, str(disk), *argv])
    assert done.returncode == 0, done.stderr
    statuses = [line for line in done.stdout.splitlines() if line.isdecimal()]
    assert statuses == ["2", "2", "0"]
    read_only, full = done.stderr.splitlines()
    assert f"--workdir={disk}/run: cannot be written (Read-only file system" in read_only
    assert f"--workdir={disk}/run: cannot be written (No space left on device" in full
    assert "free some space" in full
    assert what_is_left(Path(f"{disk}-kept")) == what_is_left(straight / "run")


@pytest.mark.parametrize("most_files", [17, 20])
def test_too_few_files_are_one_line_also_at_the_end_of_the_process(straight, fresh, most_files):
    """Test with a process of its own, because libraries complain at its end."""
    limited = ["sh", "-c", f'ulimit -n {most_files}; exec "$@"', "sh"]
    done = subprocess.run(
        [*limited, sys.executable, str(ROOT / "run.py"), *fresh.argv, "--explorer=none"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 2)
    assert len(done.stderr.splitlines()) == (done.returncode == 2), done.stderr
    assert fresh.start()[0] == 0
    fresh.assert_whole()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_on_which_nothing_can_be_reserved_is_no_obstacle(fresh, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    status, _, err = fresh.start()
    assert (status, err) == (0, "")
    fresh.assert_whole()


def test_an_error_of_the_disk_that_orbax_meets_is_that_of_the_system():
    text = "RESOURCE_EXHAUSTED: [os_error_code='28'] [tensorstore_spec='...']"
    found = checkpoint._error_of_disk(ValueError(text), Path("12/state"))
    assert (found.errno, found.strerror, found.filename) == (
        *(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        "12/state",
    )
    assert checkpoint._error_of_disk(ValueError("a\nb"), Path("x")).strerror == "a b"
