"""The one exception that is the user's to mend."""


class InputError(ValueError):
    """A flag, file or combination that cannot be used.

    The message is one line: the flag (`--name=value`), what is wrong with it, and what to do
    instead. The command line prints it without a traceback and exits with status 2.

    A value may bring along line breaks, which become spaces, and other characters that a terminal
    would obey, which are shown by their numbers.
    """

    def __init__(self, message: str):
        super().__init__("".join(map(_shown, " ".join(message.splitlines()))))


def _shown(character: str) -> str:
    return character if character.isprintable() else f"\\x{ord(character):02x}"


class LostError(InputError):
    """Trained work that a workdir once held and that cannot be read back.

    ``--restart`` allows to do it anew; without it nothing is started over.
    """
