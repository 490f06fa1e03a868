"""Command line: from its arguments to a checked ``Config``; the only module that imports absl.

The flags themselves are declared in :mod:`vae_jax.config.flags`.
"""

import codecs
import difflib
import importlib.metadata
import importlib.resources
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags

from vae_jax.config import sweeps
from vae_jax.config.flags import Config, Flag, flags_of
from vae_jax.config.members import KINDS, swept
from vae_jax.config.validation import without_effect
from vae_jax.runtime.errors import InputError
from vae_jax.settings import BOOLEAN

FLAGFILE_FOLDER = "experiments"
_OWN_FILE = "flags.txt"  # of a workdir, see `pipeline.workdir`
_ANOTHER = re.compile(r"\s(--\w+=.*)")
_DASHES = ("\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2212")  # hyphens, dashes, minus
_SPACED = re.compile(r"(--?\w+)(?:\s+=\s*|=\s+|\s+)(\S.*)")


def parse(argv: Sequence[str]) -> Config:
    """Return the flags of a command line (without the program's name), with a ``workdir``.

    Raises:
        InputError: unknown flags, values out of range, combinations without effect.

    Example:
        >>> config = parse(["--beta=4", "--sweep=seed=0:3"])
        >>> config.beta, config.sweep, config.workdir
        (4.0, ('seed=0:3',), 'runs/vae')
    """
    arguments, flagfiles = _with_flagfiles(argv)
    texts, sweep = _texts(arguments, known_flags(arguments))
    texts.setdefault("workdir", f"runs/{flagfiles[-1].stem if flagfiles else 'vae'}")
    config = Config.of_texts(texts, tuple(sweep))
    _refuse_flags_without_effect(config, texts)
    return config


def known_flags(arguments: Sequence[str]) -> Mapping[str, Flag]:
    """Return the flags of what is shipped and of all members that the arguments name.

    Example:
        >>> known_flags(["--posterior=iaf", "--nonsense"])["flow_hidden_size"].default
        64
    """
    values = flags.FlagValues()
    values.set_gnu_getopt(True)  # do not end at the value in "--name value"
    flags.DEFINE_multi_string("sweep", [], "", flag_values=values)
    for kind in KINDS:
        flags.DEFINE_multi_string(kind, [], "", flag_values=values)
    try:
        values(["run.py", *arguments], known_only=True)
    except flags.Error:  # it is reported when all flags are read
        return flags_of()
    named = [f"{kind}={name}" for kind in KINDS for name in values[kind].value or ()]
    return flags_of(known=swept([*named, *(values["sweep"].value or ())]))


def _texts(arguments: Sequence[str], known: Mapping[str, Flag]) -> tuple[dict[str, str], list[str]]:
    """Return the texts of the given flags as absl reads them, later ones winning, and sweeps."""
    values = flags.FlagValues()
    for flag in known.values():
        define = flags.DEFINE_boolean if flag.type is BOOLEAN else flags.DEFINE_string
        define(flag.name, None, flag.doc, flag_values=values)
    flags.DEFINE_multi_string("sweep", [], "NAME=V1,V2,...", flag_values=values)
    try:
        rest = values(["run.py", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        close = difflib.get_close_matches(error.flagname, [*known, "sweep"], 1)
        advice = f"did you mean --{close[0]}?" if close else "see --help"
        raise InputError(f"--{error.flagname}: unknown flag; {advice}") from None
    except flags.Error as error:
        raise InputError(f"{error}; flags look like --name=value") from None
    if rest:
        raise InputError(f"'{rest[0]}': not a flag; flags look like --name=value, see --help")
    given = {name: str(values[name].value) for name in known if values[name].present}
    return given, list(values["sweep"].value or [])


def _refuse_flags_without_effect(config: Config, texts: Mapping[str, str]) -> None:
    """Refuse a flag, given or swept, that has no effect in any run."""
    reasons_by_run = [without_effect(run) for run in sweeps.configs(config)]
    for name in texts.keys() | {axis.name for axis in sweeps.axes(config)}:
        if all(name in reasons for reasons in reasons_by_run):
            given = {text.partition("=")[0]: f"sweep={text}" for text in config.sweep}
            setting = given.get(name, f"{name}={texts.get(name)}")
            raise InputError(f"--{setting}: has no effect {reasons_by_run[0][name]}; leave it out")


def _with_flagfiles(
    argv: Sequence[str], opened: tuple[Path, ...] = ()
) -> tuple[list[str], list[Path]]:
    """Return the arguments with each flagfile replaced by its lines, and the flagfiles.

    A line may name another flagfile, which is looked up in the same folders.
    """
    arguments, flagfiles, rest = [], [], iter(argv)
    for argument in rest:
        flag, equals, name = argument.partition("=")
        if flag not in ("--flagfile", "-flagfile"):
            arguments.append(argument)
            continue
        path = _flagfile_path(name if equals else next(rest, ""))
        if path in opened:
            raise InputError(f"--flagfile={name}: leads back to itself; remove that line from it")
        flagfiles.append(path)
        arguments += _with_flagfiles(_flagfile_lines(path), (*opened, path))[0]
    return arguments, flagfiles


def _flagfile_path(name: str) -> Path:
    """Return the path of a flagfile: as given, or one that is shipped."""
    folder = _shipped_folder()
    for path in (Path(name), folder / name):
        if os.path.isfile(path):  # unlike Path.is_file it accepts a name of any length
            return path
    if Path(name).name == _OWN_FILE and os.path.isfile(Path(name).parent / "runs.txt"):
        raise InputError(
            f"--flagfile={name}: no command line gives the runs of this study; continue it in "
            "Python, or train one of them anew, as runs.txt beside it says"
        )
    known = ", ".join(sorted(path.name for path in folder.glob("*.flags")))
    advice = f"give one of {known}" if known else "give the path of one"
    is_checkout = folder == _checkout_folder() and folder.is_dir()
    shown = f"{FLAGFILE_FOLDER}/" if is_checkout else str(folder)
    raise InputError(f"--flagfile={name}: no such file here or in {shown}; {advice}")


def _checkout_folder() -> Path:
    """Return ``experiments/`` beside the package, which a checkout has."""
    return Path(str(importlib.resources.files("vae_jax"))).parent / FLAGFILE_FOLDER


def _shipped_folder() -> Path:
    """Return the folder of the shipped flagfiles: in a checkout, or where pip has put them.

    The latter depends on how pip was called, so it is taken from the list of installed files.
    """
    folder = _checkout_folder()
    if folder.is_dir():
        return folder
    try:
        installed = importlib.metadata.files("vae_jax") or []
    except importlib.metadata.PackageNotFoundError:
        installed = []
    folders = (Path(str(f.locate())).resolve().parent for f in installed if f.suffix == ".flags")
    return next(folders, folder)


def _flagfile_lines(path: Path) -> list[str]:
    """Return the lines of a flagfile without comments and blank ones.

    It may be in UTF-8 or, as editors of Windows write it, begin with a mark of UTF-8 or UTF-16.

    Raises:
        InputError: it is no text, or a line is written as a flag of a shell is.
    """
    try:
        content = path.read_bytes()
        is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--flagfile={path}: cannot be read as text ({error}); save it as UTF-8"
        ) from None
    if "\0" in text:  # as in UTF-16 without a mark
        raise InputError(f"--flagfile={path}: is not in UTF-8; save it as UTF-8")
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    lines = [line for line in lines if not line.startswith(("#", "//"))]
    for line in lines:
        spaced = _SPACED.fullmatch(line)
        if spaced:
            flag, value = spaced.groups()
            raise InputError(
                f"--flagfile={path}: the line {line} has spaces where = is to stand alone; write "
                f"{flag}={value}"
            )
        if path.name != _OWN_FILE:  # there every text is a value as it was given
            _refuse_habits(line, f"--flagfile={path}: the line {line}")
    return lines


def _refuse_habits(line: str, subject: str) -> None:
    """Refuse what a shell or a word processor reads or writes, and would be part of a value here.

    Raises:
        InputError: naming what to write.
    """
    flag, _, value = line.partition("=")
    quote, more = value[:1], _ANOTHER.search(value)
    if line.startswith(_DASHES):
        name = line.lstrip("".join((*_DASHES, "-")))
        raise InputError(f"{subject} begins with a dash that is no hyphen; write --{name}")
    if quote and quote in "\"'" and len(value) > 1 and value.endswith(quote):
        bare = f"{flag}={value[1:-1]}"
        raise InputError(f"{subject} has quotes, which no shell takes away; write {bare}")
    if more:
        raise InputError(f"{subject} holds two flags; write {more[1]} in a line of its own")
    if value.endswith(" \\"):
        raise InputError(f"{subject} ends with a backslash; leave it out, each flag has its line")
    if " # " in value:
        raise InputError(f"{subject} ends with a comment; write it in a line of its own")
