"""Files of a trained run for other programs: codes, weights, compiled functions, statistics.

``exports/RUN/`` of a workdir holds what ``--export`` names:

=========================  ========================================================================
``codes.npz``              of each split: centers of q(z|x), its other parameters, labels
``weights.safetensors``    all parameters, by their names in the tree; flags and row as metadata
``encode.stablehlo``       x ``[n, *event]`` in [0, 1] -> code ``[n, latent_size]`` (and log_var)
``decode.stablehlo``       z ``[n, latent_size]`` -> E[x|z] ``[n, *event]``
``sample.stablehlo``       key ``uint32[2]``, noise ``[n, latent_size]`` -> E[x|z] of z from p(z)
``latents.json``           each latent's mean, standard deviation and KL over train; scaling factor
=========================  ========================================================================

The functions are ``jax.export`` artifacts for CPU, CUDA and TPU with any batch size. They need JAX
and not this package: ``jax.export.deserialize(Path(file).read_bytes()).call(z)``. A conditional
model's take labels ``int32[n]`` last.
"""

import contextlib
import functools
import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vae_jax import rng
from vae_jax.config.flags import EXPORTS, Config
from vae_jax.config.validation import as_flags
from vae_jax.data import Dataset
from vae_jax.data.split_names import SPLITS
from vae_jax.evaluation.evaluators.base import BATCH_SIZE, fixed_pixels, index_batches
from vae_jax.hparams import HParams
from vae_jax.models.posteriors import LatentDensities
from vae_jax.models.vae import VAE, TrainedVAE
from vae_jax.pipeline import evaluate, workdir
from vae_jax.pipeline.train import TrainedGroup
from vae_jax.reporting import table
from vae_jax.runtime import checksums, files, libraries, safetensors
from vae_jax.runtime.checksums import DamagedError
from vae_jax.runtime.failures import Failures
from vae_jax.runtime.progress import phase
from vae_jax.training import batches, vectorized
from vae_jax.types import Labels, Params, Row, Stored, default_float

Function: TypeAlias = Literal["encode", "decode", "sample"]
FORMAT = 1
"""Version of the exported files, raised with every change so that none older is kept."""
FUNCTIONS: tuple[Function, ...] = ("encode", "decode", "sample")
"""Functions of a run that can be exported."""
PLATFORMS = ("cpu", "cuda", "tpu")
"""Platforms for which the functions are lowered."""
_NO_PARAMETERS = ("mean", "log_var", "latent_mask")


def export(
    config: Config,
    trained: Sequence[TrainedGroup],
    data: Dataset,
    rows: Sequence[Row],
    failures: Failures,
) -> list[Path]:
    """Write what ``--export`` names of the best run, or of all that did not diverge.

    Files of an earlier start are kept where nothing changed that they depend on: the parameters,
    the data, what is written beside them, and the version of JAX.

    Args:
        config: flags of the study.
        trained: all groups.
        data: data that they were trained on.
        rows: rows of ``results.csv``.
        failures: takes the kinds of files that fail.

    Returns:
        The files that were written.
    """
    if not config.export:
        return []
    ranked = table.ranking(rows)
    chosen = {row["run"]: row for row in (ranked if config.export_runs == "all" else ranked[:1])}
    written, num_done = [], 0
    with phase("exporting", len(chosen), "runs") as advance:
        for done in trained:
            for i, (run, own) in enumerate(zip(done.group.runs, done.group.configs, strict=True)):
                if run not in chosen:
                    continue
                one = vectorized.take((done.group.hparams, done.state.eval_params), i)
                folder = Path(config.workdir) / workdir.EXPORTS / str(run)
                model, flags = TrainedVAE(done.spec.model, *one), as_flags(own)
                binarize = done.spec.binarize
                writers = _writers(folder, model, data, binarize, flags, chosen[run])
                facts = {
                    "format": FORMAT,
                    "jax": jax.__version__,
                    "model": evaluate.checksum(tuple(one)),
                    "data": evaluate.data_of(done),
                    "texts": _checksum_of_texts(flags, chosen[run]),
                    **evaluate.checksums_of_outside(own),
                }
                for kind in (each for each in EXPORTS if each in config.export):
                    with failures.caught(f"export {kind} of run {run}"), phase(f"writing {kind}"):
                        written += _kept_or_written(folder, kind, facts, writers[kind])
                num_done += 1
                advance(num_done)
    return written


def _kept_or_written(
    folder: Path, kind: str, facts: Mapping[str, Any], write: Callable[[], list[Path]]
) -> list[Path]:
    """Write the files of one kind unless those that are there are what would be written.

    Args:
        folder: folder of the run's files.
        kind: one of :data:`vae_jax.config.flags.EXPORTS`.
        facts: what the files depend on, in the types of JSON.
        write: writes and returns them.

    Returns:
        The files that were written.
    """
    record = folder.parents[1] / workdir.EVALUATIONS / f"{folder.name}-export-{kind}.json"
    with contextlib.suppress(DamagedError, OSError):
        known = checksums.read(record)
        files_kept = known["files"].items()
        if known["facts"] == facts and all(
            checksums.of_file(folder / name) == digest for name, digest in files_kept
        ):
            return []
    folder.mkdir(parents=True, exist_ok=True)
    written = write()
    digests = {path.name: checksums.of_file(path) for path in written}
    record.parent.mkdir(exist_ok=True)
    files.write_json(record, checksums.with_checksum({"facts": facts, "files": digests}))
    return written


def _checksum_of_texts(flags: Mapping[str, Any], row: Row) -> int:
    """Return the CRC-32 of what is written beside the weights."""
    return zlib.crc32(json.dumps(files.finite([flags, row]), default=str).encode())


def _writers(
    folder: Path,
    trained: TrainedVAE,
    data: Dataset,
    binarize: str,
    flags: Mapping[str, Any],
    row: Row,
) -> dict[str, Callable[[], list[Path]]]:
    """Return a function for each kind of export, which writes the files of one run.

    Args:
        folder: folder of the run's files.
        trained: model of the run.
        data: data set that it was trained on.
        binarize: binarization of the pixels.
        flags: flags of the run.
        row: row of its results.
    """
    return {
        "codes": lambda: [write_codes(folder / "codes.npz", trained, data, binarize)],
        "weights": lambda: [write_weights(folder / "weights.safetensors", trained, flags, row)],
        "stablehlo": lambda: [
            write_function(folder / f"{name}.stablehlo", trained, name) for name in FUNCTIONS
        ],
        "latents": lambda: [write_latents(folder / "latents.json", trained, data, binarize)],
    }


def write_codes(path: Path, trained: TrainedVAE, data: Dataset, binarize: str) -> Path:
    """Write the posteriors' centers and parameters of every split, with labels, as ``.npz``.

    The arrays are ``train_codes``; where q(z|x) is a product of single latents ``train_log_var``,
    and its further parameters by their names, as ``train_log_scale``; ``train_labels`` where the
    data have labels; and so on for ``valid`` and ``test``.
    """
    arrays: dict[str, np.ndarray] = {}
    for split in SPLITS:
        labels = data.labels_of(split)
        encoded = encode_pixels(trained, fixed_pixels(binarize, split, data), labels)
        arrays |= {f"{split}_{name}": values for name, values in encoded.items() if name != "kl"}
        arrays |= {} if labels is None else {f"{split}_labels": labels}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    files.write_bytes(path, buffer.getvalue())
    return path


def write_weights(
    path: Path, trained: TrainedVAE, flags: Mapping[str, Any], row: Mapping[str, Any]
) -> Path:
    """Write all parameters as ``.safetensors``: ``encoder.mean.kernel`` and so on.

    Heads and the decoder's first layer have columns beyond ``latent_size`` that the run does not
    use; the texts ``latent_size``, ``flags``, ``row`` and ``hparams`` (JSON) say what is needed to
    rebuild the model.
    """
    hparams = {name: np.asarray(value).item() for name, value in trained.hparams._asdict().items()}
    facts = {"flags": flags, "row": row, "hparams": hparams, "latent_size": hparams["latent_size"]}
    texts = {name: json.dumps(files.finite(value), default=str) for name, value in facts.items()}
    safetensors.save(path, named_arrays(trained.params), texts | {"format": "vae_jax"})
    return path


def is_weights(path: Path) -> bool:
    """Return whether a file is one that :func:`write_weights` wrote."""
    found = safetensors.metadata(path)
    return isinstance(found, dict) and found.get("format") == "vae_jax"


def is_function(path: Path) -> bool:
    """Return whether a file is a serialized ``jax.export`` artifact."""
    try:
        jax.export.deserialize(bytearray(path.read_bytes()))
    except OSError:
        raise
    except Exception:  # flatbuffers raise whatever the bytes lead to
        return False
    return True


def named_arrays(params: Params) -> dict[str, np.ndarray]:
    """Return the arrays of a tree by their paths, joined by dots.

    Example:
        >>> named_arrays({"decoder": {"bias": np.zeros(2)}})
        {'decoder.bias': array([0., 0.])}
    """
    leaves = jax.tree.leaves_with_path(params)
    return {jax.tree_util.keystr(p, simple=True, separator="."): np.asarray(a) for p, a in leaves}


def write_function(path: Path, trained: TrainedVAE, name: Function) -> Path:
    """Write one function of a run as a serialized ``jax.export`` artifact."""
    libraries.require("flatbuffers", f"export={name}")
    files.write_bytes(path, bytes(exported(trained, name).serialize()))
    return path


def exported(trained: TrainedVAE, name: Function) -> jax.export.Exported:
    """Return a function of a run with its weights inside, lowered for :data:`PLATFORMS`.

    Products are of the highest precision: on a TPU the fastest one costs about a per cent of an
    ELBO.

    Args:
        trained: model of the run.
        name: one of :data:`FUNCTIONS`.
    """
    (n,) = jax.export.symbolic_shape("n")
    model, latent_size = trained.model, int(trained.hparams.latent_size)
    noise_width = int(np.sum(model.latent_mask(trained.hparams)))
    real = functools.partial(jax.ShapeDtypeStruct, dtype=default_float())
    arguments = {
        "encode": [real((n, *model.event_shape))],
        "decode": [real((n, latent_size))],
        "sample": [jax.ShapeDtypeStruct((2,), jnp.uint32), real((n, noise_width))],
    }[name]
    if model.num_classes:
        arguments.append(jax.ShapeDtypeStruct((n,), jnp.int32))
    fn = {"encode": _encode, "decode": _decode, "sample": _sample}[name]
    with jax.default_matmul_precision("highest"):
        return jax.export.export(jax.jit(functools.partial(fn, trained)), platforms=PLATFORMS)(
            *arguments
        )


def _encode(trained: TrainedVAE, x: Any, y: Labels | None = None) -> Any:
    model, hparams, params = trained
    q, used = model.encode(hparams, params, x, y), _used(trained)
    center = q.center[..., used]
    return (center, q.log_var[..., used]) if isinstance(q, LatentDensities) else center


def _decode(trained: TrainedVAE, z: Any, y: Labels | None = None) -> Any:
    model, hparams, params = trained
    return model.generate(hparams, params, z, y)


def _sample(trained: TrainedVAE, key: Any, noise: Any, y: Labels | None = None) -> Any:
    model, hparams, params = trained
    wide = jnp.zeros((noise.shape[0], model.width), noise.dtype).at[:, _used(trained)].set(noise)
    z = model.prior_at(hparams, params, y).sample(jax.random.wrap_key_data(key), wide)
    return model.generate(hparams, params, z, y)


def _used(trained: TrainedVAE) -> np.ndarray:
    """Return the indices of the columns of z that the run uses."""
    with jax.ensure_compile_time_eval():
        return np.flatnonzero(trained.model.latent_mask(trained.hparams))


def write_latents(path: Path, trained: TrainedVAE, data: Dataset, binarize: str) -> Path:
    """Write statistics of each latent over train, which a model of the latents needs.

    ``std`` is the standard deviation of z ~ q(z|x), x ~ train: the spread of the centers and the
    mean variance of q together or, where q has no variances of single latents, that of a z of each
    x. ``scaling_factor`` = 1 / its root mean square over the latents
    gives latents of unit variance (Rombach et al. 2022, section G).
    """
    pixels, labels = fixed_pixels(binarize, "train", data), data.labels_of("train")
    encoded = encode_pixels(trained, pixels, labels)
    exact = {name: values.astype(np.float64) for name, values in encoded.items()}
    codes, none = exact["codes"], np.full(exact["codes"].shape, np.nan)
    if "log_var" in exact:
        total = codes.var(axis=0) + np.exp(exact["log_var"]).mean(axis=0)
    else:
        total = _drawn(trained, pixels, labels).astype(np.float64).var(axis=0)
    facts = {
        "num_examples": len(codes),
        "mean": codes.mean(axis=0),
        "std": np.sqrt(total),
        "std_of_centers": codes.std(axis=0),
        "kl": exact.get("kl", none).mean(axis=0),
        "scaling_factor": float(1 / np.sqrt(np.mean(total))) if np.mean(total) > 0 else None,
        "units": {"kl": "nats per example"},
    }
    files.write_json(path, facts)
    return path


def encode_pixels(
    trained: TrainedVAE, pixels: np.ndarray, labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Return ``codes`` and, where q(z|x) has them, ``log_var``, ``kl`` and its own parameters.

    Args:
        trained: model of a run.
        pixels: images as the model sees them, 0 to 255.
        labels: one each; only conditional models are given them.

    Returns:
        Arrays ``[n, latents]`` of the latents that the run uses.
    """
    used, parts = _used(trained), []
    for indices in index_batches(len(pixels), BATCH_SIZE):
        y = jnp.asarray(labels)[indices] if trained.model.num_classes else None
        parts.append(_encoded(*trained, jnp.asarray(pixels[indices]), y))
    joined = {
        name: np.concatenate([part[name] for part in parts])[: len(pixels), used]
        for name in parts[0]
    }
    return joined


def _drawn(trained: TrainedVAE, pixels: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Return a z ~ q(z|x) of each image, ``[n, latents]``."""
    key, parts = rng.stream(trained.hparams.seed, "generate"), []
    for indices in index_batches(len(pixels), BATCH_SIZE):
        y = jnp.asarray(labels)[indices] if trained.model.num_classes else None
        noise = trained.model.noise(jax.random.fold_in(key, indices[0]), len(indices))
        parts.append(np.asarray(_sampled(*trained, jnp.asarray(pixels[indices]), y, noise)))
    return np.concatenate(parts)[: len(pixels), _used(trained)]


@functools.partial(jax.jit, static_argnames="model")
def _sampled(
    model: VAE, hparams: HParams, params: Params, pixels: Stored, y: Labels | None, noise: Array
) -> Array:
    return model.encode(hparams, params, batches.as_observations(pixels), y).sample(noise)


@functools.partial(jax.jit, static_argnames="model")
def _encoded(
    model: VAE, hparams: HParams, params: Params, pixels: Stored, y: Labels | None
) -> dict[str, Any]:
    q = model.encode(hparams, params, batches.as_observations(pixels), y)
    found = {"codes": q.center}
    if isinstance(q, LatentDensities):
        found |= {"log_var": q.log_var} | _parameters(q)
    kl = model.prior_at(hparams, params, y).kl(q) if model.posterior.has_density else None
    return found | ({} if kl is None or kl.per_latent is None else {"kl": kl.per_latent})


def _parameters(q: LatentDensities) -> dict[str, Any]:
    """Return the parameters of q(z|x) beside mean and log-variance, by the names of its fields."""
    fields = getattr(q, "_asdict", dict)()
    return {name: own for name, own in fields.items() if name not in _NO_PARAMETERS}
