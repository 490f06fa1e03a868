"""A data directory of its own for every test, and a network that fails."""

import functools

import pytest
import requests

from vae_jax.data import load


@pytest.fixture
def read(tmp_path):
    """Return `load` with a data directory of its own."""
    return functools.partial(load, data_dir=str(tmp_path / "store"))


@pytest.fixture
def no_network(monkeypatch):
    """Let every request fail as it does without a network."""

    def refuse(*args, **kwargs):
        raise requests.ConnectionError("simulated")

    monkeypatch.setattr(requests, "get", refuse)
