"""Meaning of the folders in which the files of an image folder lie: splits and classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.data.labels import numbered
from vae_jax.data.split_names import SplitName, split_name
from vae_jax.runtime.errors import InputError


class FolderLayout(NamedTuple):
    """Meaning of the subfolders of an image folder.

    Attributes:
        rows_by_split: indices of every split's files.
        names: names of the folders of splits.
        parts: folders of each file, without those of splits and without those that all share.
    """

    rows_by_split: dict[str, list[int]]
    names: tuple[str, ...]
    parts: list[list[str]]

    @classmethod
    def of(cls, files: list[str], label: str) -> "FolderLayout":
        """Return the meaning of the folders in which the files lie.

        Folders are splits where all of one depth are called so, one of them train. A folder that
        holds everything is passed through, whatever it is called.

        Args:
            files: relative paths.
            label: `name=value`, which begins every error.

        Raises:
            InputError: some files lie beside the folders of splits, none is to train on, or the
                names may be those of splits as well as of classes.
        """
        folders = [file.split("/")[:-1] for file in files]
        around = ""  # a folder that holds everything and is called like a split
        for depth in range(max(map(len, folders), default=0)):
            names = [own[depth] if depth < len(own) else "" for own in folders]
            found = {name: split_name(name) for name in dict.fromkeys(names)}
            meanings = {name: meaning for name, meaning in found.items() if meaning is not None}
            if len(found) == 1:
                around = around or "".join(meanings)
            elif len(meanings) == len(found):
                _refuse_ambiguous(meanings, label)
                _refuse_two_of_one(folders, depth, meanings, label)
                return cls._of_splits(files, folders, depth, meanings, label)
            else:
                _refuse_stray(files, names, meanings, label)
        own = split_name(around)
        if own is not None and own.is_exact and own.split != "train":
            raise InputError(
                f"{label}: has a folder {around} but none called train; add one, or give the "
                "folder inside"
            )
        names = (around,) if own is not None and own.split == "train" else ()
        return cls({"train": list(range(len(files)))}, names, _parts(folders))

    @classmethod
    def _of_splits(
        cls,
        files: list[str],
        folders: list[list[str]],
        depth: int,
        meanings: dict[str, SplitName],
        label: str,
    ) -> "FolderLayout":
        """Return the layout of splits whose folders lie at a depth.

        Raises:
            InputError: a split lies inside of another.
        """
        rows: dict[str, list[int]] = {}
        above, below = [own[:depth] for own in folders], []
        for row, own in enumerate(folders):
            split, inner = meanings[own[depth]].split, own[depth + 1 :]
            rows.setdefault(split, []).append(row)
            while inner and (known := split_name(inner[0])) and known.split == split:
                inner = inner[1:]  # archives often hold train/train/...
            if inner and (known := split_name(inner[0])) and known.is_exact:
                raise InputError(
                    f"{label}: {files[row]} lies in {own[depth]} and in {inner[0]}; give one of "
                    "these folders another name"
                )
            below.append(inner)
        return cls(rows, tuple(meanings), _parts(above, below))

    def classes(self, files: list[str], label: str) -> tuple[tuple[str, ...], np.ndarray | None]:
        """Return the names of class folders and each file's class, or none without such folders.

        Raises:
            InputError: some files lie beside folders of classes.
        """
        names = [own[0] if own else "" for own in self.parts]
        if not any(names):
            return (), None
        if "" in names:
            stray = files[names.index("")]
            raise InputError(f"{label}: {stray} lies beside folders of classes; move it into one")
        labels, class_names, _ = numbered({"all": np.array(names)})
        return class_names, labels["all"]

    def sentences(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return what the folders were taken for."""
        kind = "splits from the folders" if len(self.names) > 1 else "split from the folder"
        splits = f"{kind} {', '.join(self.names)}" if self.names else "no splits"
        count, shown = len(class_names), _few(class_names)
        kinds = f"{count} classes from the folders" if count > 1 else "1 class from the folder"
        deeper = sorted({own[1] for own in self.parts if len(own) > 1})
        return (
            splits,
            *([f"{kinds} {shown}"] if class_names else []),
            *(
                [f"folders inside those of classes are not told apart ({_few(deeper)})"]
                * any(deeper)
            ),
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) < 6 else (*names[:4], "..."))


def _refuse_stray(
    files: list[str], names: list[str], meanings: dict[str, SplitName], label: str
) -> None:
    """Refuse folders of splits beside others, of which one cannot tell what they are."""
    exact = [name for name, meaning in meanings.items() if meaning.is_exact]
    if not exact and len({meaning.split for meaning in meanings.values()}) < 2:
        return
    split = (exact or [*meanings])[0]
    stray = next(file for file, own in zip(files, names, strict=True) if own not in meanings)
    raise InputError(
        f"{label}: {stray} lies beside the folder {split}; use only train, valid and test, or give "
        f"{split} another name if it is a class"
    )


def _refuse_ambiguous(meanings: dict[str, SplitName], label: str) -> None:
    """Refuse folders that are all called like splits, but not so that one knows which."""
    names, rest = ", ".join(meanings), {each.rest for each in meanings.values() if each.rest}
    if not all(each.split for each in meanings.values()) or len(rest) > 1:
        raise InputError(
            f"{label}: the folders {names} may be splits or classes; call splits train, valid and "
            "test, and put folders of classes into them"
        )
    if "train" not in {each.split for each in meanings.values()}:
        raise InputError(
            f"{label}: has a folder {next(iter(meanings))} but none called train; add one, or "
            "give the folder inside"
        )


def _refuse_two_of_one(
    folders: list[list[str]], depth: int, meanings: dict[str, SplitName], label: str
) -> None:
    """Refuse two folders in one place that are the same split."""
    taken: dict[tuple[str, ...], str] = {}
    for own in folders:
        split, name = meanings[own[depth]].split, own[depth]
        other = taken.setdefault((*own[:depth], "/", split), name)
        if other != name:
            raise InputError(f"{label}: both {other} and {name} are {split}; keep one of them")


def _parts(*groups: list[list[str]]) -> list[list[str]]:
    """Return the folders of each file without the leading ones that all share.

    Args:
        *groups: folders above those of splits, and below them; or all of them. One folder below
            is a class, even where all share it, unless others lie inside.
    """
    (*above, below) = groups
    if above and len({tuple(own) for own in above[0]}) == 1:
        above = []
    joined = [[*up, *down] for up, down in zip(above[0], below, strict=True)] if above else below
    while joined and all(len(own) > 1 and own[0] == joined[0][0] for own in joined):
        joined = [own[1:] for own in joined]
    return joined
