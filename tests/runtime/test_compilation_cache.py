"""Programs in the compilation cache are found again and never read when damaged."""

import os
import stat
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from vae_jax.runtime import compilation_cache


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch):
    """Remove the tests' own cache for the time of a test."""
    own = os.environ["JAX_COMPILATION_CACHE_DIR"]
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    yield
    compilation_cache._set_folder_of_jax(own)


def programs(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*-cache"))


def compile_one(folder: Path, number: float = 3.0) -> str:
    with compilation_cache.enabled(str(folder)) as problem:
        jax.jit(lambda x: x * number)(np.float32(2.0))
    return problem


def checksum_of(program: Path) -> Path:
    return program.with_name(f"{program.name}.crc32")


def test_small_programs_are_kept_with_checksums_in_a_private_folder(tmp_path):
    assert compile_one(tmp_path / "cache") == ""
    kept = programs(tmp_path / "cache")
    assert kept
    assert all(checksum_of(program).exists() for program in kept)
    assert stat.S_IMODE(kept[0].parent.stat().st_mode) == 0o700


def test_a_program_is_taken_from_the_disk(tmp_path):
    compile_one(tmp_path)
    jax.clear_caches()
    events = []
    jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
    compile_one(tmp_path)
    jax.monitoring.clear_event_listeners()
    assert "/jax/compilation_cache/cache_hits" in events
    assert "/jax/compilation_cache/cache_misses" not in events


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_program_is_compiled_anew(tmp_path, damage):
    compile_one(tmp_path)
    for program in programs(tmp_path):
        content = bytearray(program.read_bytes())
        content[len(content) // 2] ^= 1
        program.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    damaged = {program.read_bytes() for program in programs(tmp_path)}
    jax.clear_caches()
    assert compile_one(tmp_path) == ""
    whole = programs(tmp_path)
    assert whole
    assert not {program.read_bytes() for program in whole} & damaged
    assert all(checksum_of(program).exists() for program in whole)


def test_a_fresh_program_without_a_checksum_is_left_to_the_process_that_may_be_writing_it(tmp_path):
    compile_one(tmp_path)
    fresh = programs(tmp_path)[0]
    checksum_of(fresh).unlink()
    old = fresh.with_name("old-cache")
    old.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * compilation_cache._WRITING_SECONDS,) * 2)
    compile_one(tmp_path)
    assert fresh.exists()
    assert not old.exists()


def test_the_oldest_programs_are_deleted_when_all_are_too_large(tmp_path, monkeypatch):
    compile_one(tmp_path, 3.0)
    old = set(programs(tmp_path))
    for program in old:
        os.utime(program, (time.time() - 60,) * 2)
    compile_one(tmp_path, 5.0)
    new = set(programs(tmp_path)) - old
    monkeypatch.setattr(compilation_cache, "MOST_BYTES", sum(path.stat().st_size for path in new))
    with compilation_cache.enabled(str(tmp_path)):
        assert set(programs(tmp_path)) == new


def test_a_folder_that_others_may_write_is_not_used(tmp_path):
    compile_one(tmp_path)
    programs(tmp_path)[0].parent.chmod(0o777)
    assert "others may write there" in compile_one(tmp_path, 7.0)


def test_a_path_that_is_no_folder_is_reported_and_not_used(tmp_path):
    (tmp_path / "file").touch()
    assert "Not a directory" in compile_one(tmp_path / "file")


def test_none_keeps_nothing(tmp_path):
    compile_one(tmp_path)
    before = programs(tmp_path)
    with compilation_cache.enabled("none") as problem:
        jax.jit(lambda x: x * 11.0)(np.float32(2.0))
    assert problem == ""
    assert programs(tmp_path) == before


def test_the_users_cache_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with compilation_cache.enabled(""):
        assert jax.config.jax_compilation_cache_dir.startswith(str(tmp_path / "vae_jax" / "xla"))


def test_the_variable_of_jax_is_obeyed(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    compilation_cache._set_folder_of_jax(str(tmp_path))
    with compilation_cache.enabled(""):
        assert jax.config.jax_compilation_cache_dir == str(tmp_path)
