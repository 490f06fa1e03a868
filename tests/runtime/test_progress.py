"""Libraries tell of what takes long; who watches is told when it begins, goes on and ends."""

import pytest

from vae_jax.runtime import progress
from vae_jax.runtime.progress import phase, watched_by


def test_phases_inside_others_have_their_depth_and_end_in_order():
    seen = []
    with watched_by(lambda now: seen.append((now.text, now.depth, now.is_over))):
        with phase("reading", 2, "files") as advance:
            advance(1)
            with phase("decoding"):
                pass
        with phase("checking"):
            pass
    assert seen == [
        ("reading: 0 of 2 files", 0, False),
        ("reading: 1 of 2 files", 0, False),
        ("decoding", 1, False),
        ("decoding", 1, True),
        ("reading: 1 of 2 files", 0, True),
        ("checking", 0, False),
        ("checking", 0, True),
    ]


def test_a_phase_that_fails_is_over():
    seen = []
    with watched_by(seen.append), pytest.raises(OSError, match="full"), phase("writing"):
        raise OSError("full")
    assert [now.is_over for now in seen] == [False, True]
    with watched_by(seen.append), phase("again"):
        assert seen[-1].depth == 0


def test_who_watches_inside_stands_in_for_who_watches_around():
    outer, inner = [], []
    with watched_by(outer.append), phase("a"):
        with watched_by(inner.append), phase("b"):
            pass
        with watched_by(None), phase("c") as advance:
            advance(1)
            assert not progress.is_watched()
    assert [now.label for now in outer] == ["a", "a"]
    assert [(now.label, now.depth) for now in inner] == [("b", 0), ("b", 0)]
