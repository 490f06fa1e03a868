"""Hyperparameters that are arrays: new values need no compilation, and a study vmaps over them.

Each is declared once, as an :class:`HParam` in the class attribute ``hparams`` of what reads it: a
likelihood, a posterior, a prior, a network, an objective, a regularizer, an optimizer or a spec.
:class:`HParams`, the flag, its checks, its row in the docs and its column are made of that.
"""

import dataclasses
import difflib
import functools
import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import GetAttrKey
from jax.typing import ArrayLike

from vae_jax.runtime.errors import InputError
from vae_jax.settings import Setting, is_met, static_settings
from vae_jax.types import default_float

Values = ArrayLike | Sequence[float | int]
"""Value of a hyperparameter: a number, or a list with one entry per run."""

MEMBERS = "vae_jax.training.members"
"""Module with the declarations of all members that are shipped. They lie to the right of this
module, so it is imported by name, at the first use."""


@dataclass(frozen=True)
class HParam(Setting):
    """Declaration of a hyperparameter that is an array.

    Attributes:
        dtype: type of the array; "" for int32 where the values are whole numbers, and for the
            float of the precision where they are real.

    Example:
        >>> from vae_jax.settings import real
        >>> degrees = HParam("degrees", 5.0, real(0.0, is_open=True), "degrees of freedom")
        >>> HParams.of(degrees, degrees=[2, 30]).degrees.tolist()
        [2.0, 30.0]
        >>> HParams.of(degrees, degrees=-1)
        Traceback (most recent call last):
        vae_jax.runtime.errors.InputError: degrees=-1: must be a finite number above 0
    """

    dtype: str = ""

    def __post_init__(self) -> None:
        """Refuse a name that ``hparams.NAME`` could not read."""
        if not self.name.isidentifier() or self.name[0] == "_" or hasattr(HParams, self.name):
            raise InputError(
                setting="name",
                value=self.name,
                problem="cannot name a hyperparameter, which is read as hparams.NAME",
                advice="give an identifier that is no method of HParams",
            )

    def array(self, values: Values) -> jax.Array:
        """Return values as an array of this hyperparameter's type.

        Raises:
            InputError: a value that is known, as no traced one is, lies out of range.
        """
        if not _is_traced(values):
            for value in _as_array(self.name, values).ravel():
                self.check(value.item() if isinstance(value, np.generic) else value)
        whole = jnp.int32 if self.type.parse is int else default_float()
        return jnp.asarray(values, self.dtype or whole)

    def check(self, value: Any) -> None:
        """Refuse a value out of range.

        Raises:
            InputError: it is.
        """
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self._is_in_range(value):
            raise InputError(
                f"{self.name}={value}: must be {self.type.description}",
                setting=self.name,
                value=value,
                problem=f"must be {self.type.description}",
            )

    def _is_in_range(self, value: int | float) -> bool:
        is_kind = self.type.parse is not int or isinstance(value, int) or value.is_integer()
        return is_kind and self.type.is_valid(value)


@jax.tree_util.register_pytree_with_keys_class
class HParams:
    """Hyperparameters that may differ between the runs of one compiled program.

    A pytree with an array for each name: scalars for one run, ``[runs]`` for a study. Build it with
    :meth:`of`, which gives every field its dtype: a Python number of another type would compile a
    second program. As in a named tuple, ``_fields``, ``_asdict`` and ``_replace`` have a leading
    underscore, so that no name of a hyperparameter can clash with them.

    Example:
        >>> import vae_jax
        >>> hparams = vae_jax.HParams.of(latent_size=[2, 8, 32], seed=1)
        >>> hparams.latent_size.tolist(), hparams.seed.tolist()
        ([2, 8, 32], [1, 1, 1])
        >>> vae_jax.HParams.of(beta=0.5).beta.shape
        ()
    """

    __slots__ = ("_values",)

    def __init__(self, **values: Any) -> None:
        """Take values as they are; :meth:`of` gives them defaults, types and checks."""
        object.__setattr__(self, "_values", values)

    @classmethod
    def of(cls, *readers: Any, **values: Values) -> "HParams":
        """Build hyperparameters from numbers, or from equally long lists with an entry per run.

        Args:
            *readers: specs, models or members from outside of the package whose hyperparameters
                are wanted too, instances or classes. Those of the package are always there.
            **values: values of those whose default is not wanted.

        Raises:
            InputError: an unknown name, or a value out of range.
        """
        known = {**shipped(), **declared_by(*readers)}
        for name in values.keys() - known.keys():
            raise InputError(_unknown(name, known))
        given: dict[str, Any] = {name: each.default for name, each in known.items()} | values
        arrays = [each.array(given[name]) for name, each in known.items()]
        return cls(**_of_one_length(dict(zip(known, arrays, strict=True))))

    @property
    def _fields(self) -> tuple[str, ...]:
        """Names of the hyperparameters."""
        return tuple(self._values)

    def _asdict(self) -> dict[str, Any]:
        """Return the arrays by their names."""
        return dict(self._values)

    def _replace(self, **values: Values) -> "HParams":
        """Return the same with other values of some hyperparameters, in the type that they have.

        Their ranges are checked by what reads them (:meth:`TrainSpec.specialized`).

        Raises:
            InputError: an unknown name, or a value that the type could not hold as it is.
        """
        for name in values.keys() - self._values.keys():
            raise InputError(_unknown(name, self._values))
        changed = {n: _in_type(n, v, self._values[n].dtype) for n, v in values.items()}
        return HParams(**self._values | changed)

    def as_study(self) -> "HParams":
        """Return the same values with every field ``[runs]``: a single run is a study of one.

        Raises:
            InputError: fields are missing, or of different lengths.
        """
        for name in sorted(shipped().keys() - self._values.keys()):
            raise InputError(
                setting=name,
                value=None,
                problem="is missing from the hyperparameters",
                advice="make them with HParams.of or grid",
            )
        arrays = {name: jnp.asarray(value) for name, value in self._values.items()}
        return HParams(**_of_one_length(arrays, or_scalars=False))

    def tree_flatten_with_keys(self) -> tuple[tuple[tuple[Any, Any], ...], tuple[str, ...]]:
        """Return the arrays with their names as keys, for JAX."""
        keyed = tuple((GetAttrKey(name), value) for name, value in self._values.items())
        return keyed, tuple(self._values)

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[str, ...]]:
        """Return the arrays, for JAX."""
        return tuple(self._values.values()), tuple(self._values)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], arrays: Sequence[Any]) -> "HParams":
        """Return hyperparameters with the given arrays, for JAX."""
        return cls(**dict(zip(names, arrays, strict=True)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(_unknown(name, () if name.startswith("_") else self._values))
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name}: hyperparameters are not changed; use _replace")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def __repr__(self) -> str:
        return f"HParams({', '.join(f'{name}={value}' for name, value in self._values.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return HParams.tree_unflatten, (self._fields, tuple(self._values.values()))


def _is_traced(values: Any) -> bool:
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def _as_array(name: str, values: Any) -> np.ndarray:
    """Return the values of a hyperparameter as an array of NumPy."""
    try:
        return np.asarray(values)
    except ValueError:  # lists of different lengths
        raise InputError(
            setting=name,
            value=values,
            problem="values of several runs are lists of one length",
            advice="give a number for each run",
        ) from None


def _in_type(name: str, values: Any, dtype: Any) -> jax.Array:
    """Return values in the type of a hyperparameter, where no value changes by that.

    Raises:
        InputError: truth values, texts, or numbers that are not whole where they must be.
    """
    if not _is_traced(values):
        array = _as_array(name, values)
        is_whole = np.issubdtype(dtype, np.integer)
        is_number = array.dtype.kind in "iuf"
        low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if is_whole else (-np.inf, np.inf)
        is_kept = is_number and not (is_whole and ((array < low) | (array > high)).any())
        if not is_kept or (is_whole and (array != np.floor(array)).any()):
            problem = f"must be {'a whole number' if is_whole else 'a number'} of {dtype}"
            raise InputError(f"{name}={values}: {problem}", setting=name, value=values)
    return jnp.asarray(values, dtype)


def _of_one_length(
    arrays: dict[str, jax.Array], *, or_scalars: bool = True
) -> dict[str, jax.Array]:
    """Return arrays ``[runs]``; scalars where all are, unless ``or_scalars`` is false.

    Raises:
        InputError: they have different lengths, no entry, or more axes.
    """
    shapes = {array.shape for array in arrays.values() if array.shape}
    if len(shapes) > 1 or any(len(shape) > 1 or 0 in shape for shape in shapes):
        wrong: dict[tuple[int, ...], str] = {}
        for name, array in arrays.items():
            if array.shape:
                wrong.setdefault(array.shape, name)
        raise InputError(
            setting=" and ".join(wrong.values()),
            value=" and ".join(map(str, wrong)),
            problem="values of several runs are lists of one length",
            advice="give an entry per run in each, or a number for all runs",
        )
    shape = next(iter(shapes), () if or_scalars else (1,))
    return {name: jnp.broadcast_to(array, shape) for name, array in arrays.items()}


def _unknown(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    remedy = f"did you mean {close[0]}?" if close else "give the member that declares it"
    example = "" if close else f", as in HParams.of(member, {name}=...)"
    return f"{name}: unknown hyperparameter; {remedy}{example}"


@functools.cache
def shipped() -> dict[str, HParam]:
    """Return the declarations of all members and specs of the package, by name."""
    return declared_by(*importlib.import_module(MEMBERS).READERS)


def declared_by(*readers: Any) -> dict[str, HParam]:
    """Return what specs and members declare, those within a spec included, by name.

    Args:
        *readers: instances or classes of specs and members, or declarations themselves.

    Raises:
        InputError: two readers declare the same name differently.

    Example:
        >>> import vae_jax
        >>> list(declared_by(vae_jax.ImportanceWeighted))
        ['beta', 'kl_warmup_steps']
    """
    found: dict[str, HParam] = {}
    for each in _declarations(readers):
        if found.setdefault(each.name, each) != each:
            raise InputError(
                setting="name",
                value=each.name,
                problem="two members declare a hyperparameter of this name, and not the same one",
                advice="rename one of them",
            )
    return found


def unread_by(*readers: Any) -> frozenset[str]:
    """Return what specs and members declare but do not read with the static settings they have.

    Example:
        >>> import vae_jax
        >>> sorted(unread_by(vae_jax.Elbo(kl_penalty="free_bits")))
        ['capacity', 'capacity_steps']
    """
    declared = [
        (each.name, is_met(each.only_with, functools.partial(getattr, member)))
        for member in _members(readers)
        for each in getattr(member, "hparams", ())
        if each.only_with.partition("=")[0].rstrip("!") in getattr(member, "__dict__", {})
    ]
    read = {name for name, has_effect in declared if has_effect}
    return frozenset(dict(declared)) - read


def _declarations(reader: Any) -> Iterator[HParam]:
    for member in _members(reader):
        yield from (member,) if isinstance(member, HParam) else getattr(member, "hparams", ())


def _members(reader: Any) -> Iterator[Any]:
    """Yield what may declare hyperparameters: specs, the members within them, declarations."""
    if isinstance(reader, tuple):
        for each in reader:
            yield from _members(each)
    elif not isinstance(reader, HParams):
        yield reader
        if dataclasses.is_dataclass(reader) and not isinstance(reader, type | HParam):
            for field in dataclasses.fields(reader):
                yield from _members(getattr(reader, field.name))


def declarations(member: Any) -> tuple[Setting, ...]:
    """Return all settings that a member reads: the static ones, then those that are arrays.

    Example:
        >>> import vae_jax
        >>> [each.name for each in declarations(vae_jax.ImportanceWeighted)]
        ['num_particles', 'num_bounds', 'estimator', 'beta', 'kl_warmup_steps']
    """
    return (*static_settings(member), *getattr(member, "hparams", ()))
