"""Errors that the user can correct: an input that cannot be used, work that cannot be read back."""


class InputError(ValueError):
    """Error of a setting, a file or a combination of settings that cannot be used.

    The message is one line: the setting and its value, the problem, and the remedy. The command
    line prints it without a traceback and exits with status 2.

    Line breaks in the message become spaces, and other characters that a terminal would obey are
    shown by their numbers, because a value may bring them along.

    Attributes:
        setting: name of the setting, without dashes; "" where only the message was given.
        value: value of the setting.
        problem: reason why the value cannot be used.
        advice: remedy, as an imperative clause.

    Example:
        >>> try:
        ...     raise InputError(
        ...         setting="beta", value=-1, problem="must be at least 0", advice="give 0 or more"
        ...     )
        ... except InputError as error:
        ...     print(error)
        ...     print(error.setting, error.value)
        beta=-1: must be at least 0; give 0 or more
        beta -1
    """

    def __init__(
        self,
        message: str = "",
        *,
        setting: str = "",
        value: object = "",
        problem: str = "",
        advice: str = "",
    ):
        """Make the message of the four fields where no message is given."""
        self.setting, self.value, self.problem, self.advice = setting, value, problem, advice
        text = message or f"{setting}={value}: {problem}; {advice}"
        super().__init__("".join(map(_printable, " ".join(text.splitlines()))))


def _printable(character: str) -> str:
    """Return a character as it is, or its number where a terminal would obey it."""
    return character if character.isprintable() else f"\\x{ord(character):02x}"


class LostError(InputError):
    """Error of trained work that a workdir once held and that cannot be read back.

    ``--restart`` allows training it again from the start; without it nothing is trained.
    """
