"""Optional libraries: each is imported where it is used, and may be missing.

A program that trains on arrays or on an `.npz` needs JAX, flax (which brings rich), optax, orbax,
absl, jaxtyping and numpy. Where another library is missing, its output is left out with a note
(:func:`left_out`), or a setting that needs it is refused before anything is trained
(:func:`require`).
"""

import importlib.util

from vae_jax.runtime.errors import InputError

LEFT_OUT = {"matplotlib": "no figures", "tensorboardX": "no TensorBoard events"}
"""Consequence of each missing library without which a program still runs."""

PACKAGES = {
    "PIL": "pillow",
    "mlflow": "mlflow-skinny",
    "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
}
"""Names of packages to install, by the names of their modules, where these differ."""

EXTRAS = {
    **dict.fromkeys(("PIL", "tensorflow_datasets", "grain", "h5py", "scipy", "sklearn"), "data"),
    "flatbuffers": "export",
    "wandb": "wandb",
    **dict.fromkeys(("mlflow", "sqlalchemy", "alembic"), "mlflow"),
}
"""Extras of this package that bring a library, by the name of its module."""


def is_installed(module: str) -> bool:
    """Return whether a library can be found; it is not imported, which may take seconds.

    Example:
        >>> is_installed("jax"), is_installed("no_such_library")
        (True, False)
    """
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # an import hook refuses it
        return False


def left_out() -> str:
    """Return one line with the missing libraries, what is left out, and how to install them.

    Returns:
        "" where nothing is left out.
    """
    missing = [module for module in LEFT_OUT if not is_installed(module)]
    consequences = "; ".join(f"{LEFT_OUT[module]} without {module}" for module in missing)
    return consequences and f"{consequences} (`pip install {' '.join(missing)}`)"


def refusal(module: str, label: str) -> str:
    """Return why a setting cannot be used without a library, as one line; "" where it is there.

    Args:
        module: name of the library's module.
        label: setting and value with which the line begins.

    Example:
        >>> refusal("jax", "evaluate=samples")
        ''
        >>> refusal("no_such_library", "x=1")
        'x=1: needs the package no_such_library; run `pip install no_such_library`'
    """
    package = PACKAGES.get(module, module)
    extra = f", which the extra {EXTRAS[module]} brings" if module in EXTRAS else ""
    problem = f"{label}: needs the package {package}{extra}; run `pip install {package}`"
    return "" if is_installed(module) else problem


def require(module: str, label: str) -> None:
    """Refuse a setting that cannot be used without a library.

    Args:
        module: name of the library's module.
        label: setting and value with which the message begins.

    Raises:
        InputError: the library is missing.
    """
    if problem := refusal(module, label):
        raise InputError(problem)
