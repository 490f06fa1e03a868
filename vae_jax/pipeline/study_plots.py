"""Figures of a study in a notebook: ``study.plot.samples()``, ``study.plot.curves()``, ...

Each returns a figure of matplotlib, which ``savefig`` writes; a notebook shows it.
"""

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_jax import rng
from vae_jax.config.flags import FLAGS, Flag
from vae_jax.config.validation import is_accepted
from vae_jax.data import Dataset
from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import Column
from vae_jax.evaluation.evaluators import EvalContext
from vae_jax.models import inputs, paths
from vae_jax.pipeline import draw, loggers, results
from vae_jax.pipeline.trained_run import TRAVERSED, TrainedRun
from vae_jax.reporting import conclusions, explorer, html, report, table
from vae_jax.reporting.study_page import Material
from vae_jax.runtime import files, libraries
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.failures import Failures
from vae_jax.runtime.progress import OnPhase, phase
from vae_jax.settings import as_path, check_type, check_value, whole
from vae_jax.types import Row

if TYPE_CHECKING:
    from vae_jax.reporting.plots.style import Figure

NUM_SHOWN = 20


@dataclass(frozen=True, eq=False)
class StudyPlots:
    """Figures of the runs of a study; without ``run`` those of the best.

    Attributes:
        runs: returns a run by its number.
        best: returns the best run.
        rows: rows of the study's table.
        metrics: learning curves.
        swept: names of what differs between the runs.
        results: contents of ``results.json``, or as much of them as is known.
        data: returns the data that the study was trained on.
        flags: declarations of the settings, those of members from outside among them.
    """

    runs: Callable[[int], TrainedRun]
    best: Callable[[], TrainedRun]
    rows: Sequence[Row]
    metrics: Sequence[Row]
    swept: Sequence[str]
    results: Mapping[str, Any]
    data: Callable[[], Dataset]
    flags: Mapping[str, Flag] = field(default_factory=lambda: FLAGS)

    def samples(self, num: int = 100, run: int | None = None, y: Any = None) -> "Figure":
        """Draw mean images of z from the prior; of a conditional model the classes alternate."""
        one = self._run(run)
        check_value("num", num, whole(1))
        if one.model.num_classes and y is None:
            y = np.arange(num) % one.model.num_classes
        key = rng.stream(one.hparams.seed, "generate")
        return _plots().samples(None, _pictures(one, one.sample(key, num, y)))

    def reconstructions(self, x: Any = None, run: int | None = None, y: Any = None) -> "Figure":
        """Draw images above their reconstructions: x, or the first ones of test."""
        one = self._run(run)
        x, y = self._shown(one, x, y, NUM_SHOWN)
        shown = _pictures(one, x), _pictures(one, one.reconstruct(x, y))
        return _plots().reconstructions(None, *shown)

    def traversals(
        self,
        x: Any = None,
        latents: Sequence[int] | None = None,
        values: Sequence[float] = TRAVERSED,
        run: int | None = None,
        y: Any = None,
    ) -> "Figure":
        """Draw the latents of the largest KL, each moved from the code of x, or from zero."""
        one = self._run(run)
        y = 0 if one.model.num_classes and y is None else y
        latents = one.informative_latents[:8] if latents is None else latents
        images = one.traverse(x, latents, values, y)
        kl = one.row.get("kl_per_latent")
        known = None if kl is None or None in kl else np.asarray(kl, float)
        return _plots().traversals(
            *(None, _pictures(one, images), np.asarray(latents), np.asarray(values, float), known),
            moved=paths.MOVED[one.model.posterior.support],
        )

    def interpolations(
        self, x: Any = None, run: int | None = None, *, is_spherical: bool = False, y: Any = None
    ) -> "Figure":
        """Draw paths between the codes of neighbouring images, the first with the second, ..."""
        one = self._run(run)
        x, y = self._shown(one, x, y, 12)
        ends = np.asarray(x)[: len(x) // 2 * 2].reshape(-1, 2, *one.model.event_shape)
        labels = None if y is None else np.asarray(y)[: 2 * len(ends) : 2]
        images = one.interpolate(ends[:, 0], ends[:, 1], is_spherical=is_spherical, y=labels)
        return _plots().interpolations(None, _pictures(one, images), _pictures(one, ends))

    def manifold(self, side: int = 20, run: int | None = None) -> "Figure":
        """Draw the mean images on a grid of z whose cells are equally probable under N(0, I).

        Raises:
            InputError: the run has not two latents, or its z are on no plane.
        """
        one = self._run(run)
        check_value("side", side, whole(2))
        posterior = one.model.posterior
        if one.latent_size != 2 or posterior.support != "reals" or one.model.num_classes:
            raise InputError(
                setting="manifold",
                value=f"run {one.run}",
                problem="the map is of the plane of two latents, without classes, and the run has "
                f"{one.latent_size} latents of {type(posterior).__name__}",
                advice="use traversals",
            )
        values = paths.quantiles(side)
        images = _pictures(one, one.generate(paths.plane(values)))
        return _plots().manifold(None, images, values)

    def rate_distortion(self, by: str = "") -> "Figure":
        """Draw distortion against rate on test, a curve along beta for each value of ``by``.

        Other swept settings are held at those of the best run.

        Raises:
            InputError: beta or ``by`` does not differ between the runs, or test is not evaluated.
        """
        names = ("beta", by) if by else ("beta",)
        self._check_swept("rate_distortion", names)
        self._check_evaluated("rate_distortion", "test_kl")
        held = table.fixed(self.rows, self.swept, names)
        return _plots().rate_distortion(None, table.at(self.rows, held), by)

    def curves(self, run: int | None = None) -> "Figure":
        """Draw ELBO, log-likelihood and KL of one run against the step, train and valid."""
        leading = table.leading(self.rows) or self.rows[0]
        number = leading["run"] if run is None else self._run(run).run
        return _plots().training_curves(None, self.metrics, number)

    def heat(self, across: str, down: str, term: str = "test_elbo") -> "Figure":
        """Draw one column of the table over two of its settings, each cell the mean over seeds.

        Other swept settings are held at those of the best run.

        Raises:
            InputError: a name is none of what differs between the runs, or no column.
        """
        self._check_swept("heat", (across, down))
        self._check_evaluated("heat", term)
        known = self._columns()
        held = table.fixed(self.rows, self.swept, (across, down))
        plots = _plots()
        return plots.heat_maps(
            None, table.at(self.rows, held), (across, down), (plots.Term(known[term]),)
        )

    def report(self, path: str | Path, *, on_progress: OnPhase | None = None) -> Path:
        """Write the report, one page with all figures, and return its path.

        Args:
            path: path of the HTML file.
            on_progress: is called with a :class:`vae_jax.runtime.progress.Progress` as figures are
                drawn; None for a bar in a terminal or notebook, and nothing elsewhere.

        Raises:
            InputError: the path is that of a file of others, or cannot be written.

        Warns:
            UserWarning: a figure is missing, because drawing it failed.
        """
        target = as_path("path", path)
        with (
            files.replacing("path", target, html.is_own),
            loggers.shown(on_progress),
            phase("writing the report"),
        ):
            self._write_report(target)
        return target

    def _write_report(self, path: Path) -> None:
        from vae_jax.reporting import figures

        found = {"runs": list(self.rows), "swept": list(self.swept)} | dict(self.results)
        if "dataset" not in found:
            data = self.data()
            facts = {"used": data.record.used, "source": data.record.source}
            found["dataset"] = facts | {"event_shape": list(data.event_shape)}
        if "diagnosis" not in found:
            found |= conclusions.conclude(found, self.metrics, is_accepted)
        best, failures = table.best(self.rows), Failures(tell=_warn)
        _plots()  # refuses without matplotlib
        with tempfile.TemporaryDirectory() as folder:
            drawn, pictures = [], {}
            if best is not None:
                one = self.best()
                shown = draw.shown_images(one.binarize, self.data())
                if self.swept:
                    models = {row["run"]: self.runs(row["run"]).trained for row in self.rows}
                    drawn = figures.draw_study(
                        *(Path(folder), models, shown, self.rows, list(self.swept)),
                        evaluated=self._columns().values(),
                        failures=failures,
                    )
                    with failures.caught("pictures of the runs"):
                        pictures = figures.draw_pictures(
                            *(models, shown, self.rows, list(self.swept), failures)
                        )
                drawn += figures.draw(
                    *(Path(folder), one.trained, shown, self.metrics, best, failures)
                )
            found["missing"] = [*found.get("missing", ()), *failures.sentences]
            report.write(path, found, drawn, Material(self.metrics, pictures))

    def explorer(self, path: str | Path) -> Path:
        """Write the explorer, one page in which the decoders of the runs run; return its path.

        Raises:
            InputError: the path is that of a file of others, or cannot be written.
        """
        target = as_path("path", path)
        found = {"runs": list(self.rows), "swept": list(self.swept)} | dict(self.results)

        def context_of(run: int) -> EvalContext:
            one = self.runs(run)
            return EvalContext(one.trained, self.data(), one.binarize)

        with (
            files.replacing("path", target, html.is_own),
            loggers.shown(),
            phase("writing the explorer"),
        ):
            explorer.write(target, found, context_of)
        return target

    def _check_swept(self, figure: str, names: Sequence[str]) -> None:
        """Refuse settings that are the same in all runs, and one that is named twice."""
        for name in names:
            is_twice = list(names).count(name) > 1
            if is_twice or name not in self.swept:
                raise InputError(
                    setting=figure,
                    value=name,
                    problem="is named twice" if is_twice else "does not differ between the runs",
                    advice=f"give what differs: {', '.join(self.swept) or 'nothing'}",
                )

    def _check_evaluated(self, figure: str, term: str) -> None:
        """Refuse a column that is not known, or in which there is no number."""
        known = term in self._columns()
        if not known or not any(table.is_number(row.get(term)) for row in self.rows):
            raise InputError(
                setting=figure,
                value=term,
                problem="no row has a number of that name",
                advice="give a column of the table, such as test_elbo, after study.evaluate(data)",
            )

    def _columns(self) -> dict[str, Column]:
        """Return the declarations of the columns: those of the results, also from outside."""
        recorded = self.results.get("columns")
        if recorded:
            return columns.read(recorded)
        return results.declared(self.swept, flags=self.flags)

    def _run(self, run: int | None) -> TrainedRun:
        return self.best() if run is None else self.runs(run)

    def _shown(self, one: TrainedRun, x: Any, y: Any, num: int) -> tuple[Any, Any]:
        """Return the images to show with their labels: the given ones, or the first of test."""
        if x is not None:
            event = one.model.event_shape
            x = np.asarray(x)
            x = x[None] if x.shape == tuple(event) else x
            x = np.asarray(inputs.as_x(x, event, one.encoding))
            y = inputs.as_y(y, one.model.num_classes, x.shape[:1])
            return x[:num], None if y is None else np.asarray(y)[:num]
        if y is not None:
            raise InputError(
                setting="y",
                value="labels",
                problem="those of the first examples of test are read",
                advice="give their x too, or leave them out",
            )
        shown = draw.shown_images(one.binarize, self.data()).take(slice(num))
        return shown.images, shown.labels if one.model.num_classes else None


def show_images(rows: Mapping[str, Any], title: str = "") -> "Figure":
    """Draw rows of images, each beside its name: to look at several models side by side.

    Args:
        rows: images by the name of their row, ``[n, height, width, channels]``, uint8 or in [0, 1]
            (what is outside is cut off); the same number in each.
        title: title of the figure.

    Returns:
        A figure of matplotlib, which a notebook shows and ``savefig`` writes.

    Raises:
        InputError: no rows, or rows of different shapes.

    Example:
        >>> import vae_jax
        >>> data = vae_jax.load("digits")
        >>> figure = vae_jax.show_images({"train": data.train[:8], "test": data.test[:8]}, "Digits")
        >>> figure.axes[0].get_title(loc="left")
        'Digits'
    """
    check_type("rows", rows, Mapping, "give arrays [n, height, width, channels] by name")
    arrays = {name: np.asarray(images) for name, images in rows.items()}
    shapes = {images.shape for images in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 4 or 0 in next(iter(shapes)):
        raise InputError(
            setting="rows",
            value={name: images.shape for name, images in arrays.items()},
            problem="are no rows of equally many images of one shape",
            advice="give arrays [n, height, width, channels] by name",
        )
    for name, images in arrays.items():
        if images.dtype != np.uint8 and images.dtype.kind not in "bf":
            raise InputError(
                setting=f"rows[{name!r}]",
                value=f"array of {images.dtype}",
                problem="is not known to be of 0 to 255 or of 0 to 1",
                advice="give uint8, or floats in [0, 1]",
            )
    scaled = [
        images / np.float32(255) if images.dtype == np.uint8 else images.astype(np.float32)
        for images in arrays.values()
    ]
    return _plots().image_rows(None, np.stack(scaled), list(arrays), title)


def _warn(sentence: str) -> None:
    warnings.warn(sentence, UserWarning, stacklevel=2)


def _pictures(one: TrainedRun, images: Any) -> np.ndarray:
    """Return x of any kind as pictures that a figure draws."""
    images = np.asarray(images)
    flat = images.reshape(-1, *one.model.event_shape)
    return _plots().View.of(flat, is_unit=one.encoding == "pixels").pictures(images)


def _plots() -> Any:
    """Return the module of figures.

    Raises:
        InputError: matplotlib is not installed.
    """
    libraries.require("matplotlib", "study.plot")
    from vae_jax.reporting import plots

    return plots
