"""The one exception that is the user's to mend."""


class InputError(ValueError):
    """A flag, file or combination that cannot be used.

    The message is one line: the flag (`--name=value`), what is wrong with it, and what to do
    instead. The command line prints it without a traceback and exits with status 2.

    Line breaks in the message, which a value may bring along, become spaces.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))
