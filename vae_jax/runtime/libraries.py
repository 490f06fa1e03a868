"""Libraries that not every job needs: each is imported where it is used, and may be missing.

A job that trains on arrays or on an `.npz` needs JAX, flax (which brings rich), optax, orbax, absl,
jaxtyping and numpy. What else is missing is either left out with a line (:func:`left_out`) or,
where a flag asks for it, refused before anything is trained (:func:`require`).
"""

import importlib.util

from vae_jax.runtime.errors import InputError

LEFT_OUT = {"matplotlib": "no figures", "tensorboardX": "no TensorBoard events"}
"""What a job does without, by the library that it then lacks."""

PACKAGES = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
}
"""Names under which libraries are installed, where these differ from the names of their modules."""


def is_installed(module: str) -> bool:
    """Return whether a library can be found; it is not imported, which may take seconds."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # an import hook refuses it
        return False


def left_out() -> str:
    """Return one line on what a job does without here and what would bring it; or nothing."""
    missing = [module for module in LEFT_OUT if not is_installed(module)]
    words = "; ".join(f"{LEFT_OUT[module]} without {module}" for module in missing)
    return words and f"{words} (`pip install {' '.join(missing)}`)"


def refusal(module: str, flag: str) -> str:
    """Return why a flag cannot be obeyed without a library, as one line; "" where it is there."""
    package = PACKAGES.get(module, module)
    needs = f"{flag}: needs the package {package}; run `pip install {package}`"
    return "" if is_installed(module) else needs


def require(module: str, flag: str) -> None:
    """Refuse a flag that cannot be obeyed without a library.

    Raises:
        InputError: the library is missing.
    """
    if words := refusal(module, flag):
        raise InputError(words)
