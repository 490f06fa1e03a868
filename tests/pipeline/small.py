"""Images of 4x5 pixels, flags of short runs on them, and readers of the files of a workdir."""

import contextlib
import csv
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from vae_jax.training import checkpoint

SMALL = ["--batch_size=16", "--hidden_sizes=8", "--latent_size=3", "--eval_particles=3"]
SHORT = [*SMALL, "--num_steps=12", "--eval_every=4", "--checkpoint_every=4"]


def gray_images(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pattern = np.random.default_rng(0).uniform(size=(1, 4, 5))
    return (255 * pattern * rng.uniform(size=(count, 4, 5))).astype(np.uint8)


def save_images(folder: Path, name: str = "gray.npz", *, is_binary: bool = False) -> Path:
    parts = {"x_train": (80, 1), "x_valid": (10, 2), "x_test": (23, 3)}
    arrays = {key: gray_images(*arguments) for key, arguments in parts.items()}
    if is_binary:
        arrays = {key: np.uint8(255) * (images > 40) for key, images in arrays.items()}
    np.savez(folder / name, **arrays)
    return folder / name


def read_csv(workdir: Path) -> list[dict[str, str]]:
    with (workdir / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def read_json(workdir: Path) -> dict:
    return json.loads((workdir / "results.json").read_text())


def read_metrics(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def without_seconds(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@contextlib.contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Kill what the block trains before the first checkpoint of this step or a later one."""
    save = checkpoint.Checkpoints.save

    def save_until_killed(self, at, *arguments):
        if at >= step:
            raise KeyboardInterrupt
        return save(self, at, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", save_until_killed)
        with pytest.raises(KeyboardInterrupt):
            yield


def saved_arrays(workdir: Path, step: int) -> list[np.ndarray]:
    folder = (workdir / "checkpoints" / "000" / str(step) / "state").absolute()
    return [
        np.asarray(leaf) for leaf in jax.tree.leaves(ocp.StandardCheckpointer().restore(folder))
    ]
