"""Results of calls that may be refused, for tests with arbitrary input."""

from collections.abc import Callable
from typing import Any

from vae_jax.runtime.errors import InputError


class Message(str):
    """Message of an ``InputError``."""

    __slots__ = ()


def result_or_message(function: Callable[..., Any], *args: Any) -> Any:
    """Return the result of a call, or the message of the ``InputError`` that it raises."""
    try:
        return function(*args)
    except InputError as error:
        return Message(str(error))
