"""Figures of a study in a notebook: ``study.plot.samples()``, ``study.plot.curves()``, ...

Each returns a figure of matplotlib, which ``savefig`` writes; a notebook shows it.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_jax import rng
from vae_jax.data import Dataset
from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import Column
from vae_jax.models import inputs, paths
from vae_jax.pipeline import draw, loggers, results
from vae_jax.pipeline.trained_run import TRAVERSED, TrainedRun
from vae_jax.reporting import conclusions, report, table
from vae_jax.reporting.study_page import Material
from vae_jax.runtime import libraries
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.progress import OnPhase, phase
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
    """

    runs: Callable[[int], TrainedRun]
    best: Callable[[], TrainedRun]
    rows: Sequence[Row]
    metrics: Sequence[Row]
    swept: Sequence[str]
    results: Mapping[str, Any]
    data: Callable[[], Dataset]

    def samples(self, num: int = 100, run: int | None = None, y: Any = None) -> "Figure":
        """Draw mean images of z from the prior; of a conditional model the classes alternate."""
        one = self._run(run)
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
        latents = one.informative_latents[:8] if latents is None else list(latents)
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

    def curves(self, run: int | None = None) -> "Figure":
        """Draw ELBO, log-likelihood and KL of one run against the step, train and valid."""
        number = run if run is not None else (table.leading(self.rows) or self.rows[0])["run"]
        return _plots().training_curves(None, self.metrics, number)

    def heat(self, across: str, down: str, term: str = "test_elbo") -> "Figure":
        """Draw one column of the table over two of its settings, each cell the mean over seeds.

        Other swept settings are held at those of the best run.

        Raises:
            InputError: a name is none of what differs between the runs, or no column.
        """
        for setting in (across, down):
            if setting not in self.swept:
                raise InputError(
                    setting="heat",
                    value=setting,
                    problem="does not differ between the runs",
                    advice=f"give two of {', '.join(self.swept) or 'nothing'}",
                )
        known = self._columns()
        if term not in known or not any(table.is_number(row.get(term)) for row in self.rows):
            raise InputError(
                setting="heat",
                value=term,
                problem="no row has a number of that name",
                advice="give a column of the table, such as test_elbo",
            )
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
        """
        with loggers.shown(on_progress), phase("writing the report"):
            self._write_report(Path(path))
        return Path(path)

    def _write_report(self, path: Path) -> None:
        from vae_jax.reporting import figures

        found = {"runs": list(self.rows), "swept": list(self.swept)} | dict(self.results)
        if "dataset" not in found:
            data = self.data()
            facts = {"used": data.record.used, "source": data.record.source}
            found["dataset"] = facts | {"event_shape": list(data.event_shape)}
        if "diagnosis" not in found:
            found |= conclusions.conclude(found, self.metrics)
        best = table.best(self.rows)
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
                    )
                    pictures = figures.draw_pictures(models, shown, self.rows, list(self.swept))
                drawn += figures.draw(Path(folder), one.trained, shown, self.metrics, best)
            report.write(path, found, drawn, Material(self.metrics, pictures))

    def _columns(self) -> dict[str, Column]:
        """Return the declarations of the columns: those of the results, also from outside."""
        recorded = self.results.get("columns")
        return columns.read(recorded) if recorded else results.declared(self.swept)

    def _run(self, run: int | None) -> TrainedRun:
        return self.best() if run is None else self.runs(run)

    def _shown(self, one: TrainedRun, x: Any, y: Any, num: int) -> tuple[Any, Any]:
        """Return the images to show with their labels: the given ones, or the first of test."""
        if x is not None:
            event = one.model.event_shape
            x = np.asarray(x)
            x = x[None] if x.shape == tuple(event) else x
            x = np.asarray(inputs.as_x(x, event, one.encoding))
            return x[:num], None if y is None else np.broadcast_to(y, len(x))[:num]
        shown = draw.shown_images(one.binarize, self.data()).take(slice(num))
        return shown.images, shown.labels if one.model.num_classes else None


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
