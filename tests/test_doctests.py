"""Examples in docstrings run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import vae_jax

MODULES = [
    module.name
    for module in pkgutil.walk_packages(vae_jax.__path__, "vae_jax.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_say(name):
    module = importlib.import_module(name)
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0
