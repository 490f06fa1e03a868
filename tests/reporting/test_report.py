"""The page is one file, escaped, without requests, and shows the numbers of the results."""

import base64
import copy
import hashlib
import math
import re
import struct
from html.parser import HTMLParser

import numpy as np
import pytest

from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import Column
from vae_jax.reporting import report

RUN = {
    "run": 0,
    "beta": 1.0,
    "latent_size": 20,
    "learning_rate": 1e-3,
    "seed": 0,
    "step": 5000,
    "diverged": "",
    "test_elbo": -98.0,
    "test_elbo_se": 0.5,
    "test_log_likelihood": -73.0,
    "test_log_likelihood_se": 0.4,
    "test_kl": 25.0,
    "test_kl_se": 0.1,
    "test_nll": 95.0,
    "test_nll_se": 0.45,
    "eval_particles": 500,
    "active_units": 18,
    "valid_elbo": -99.0,
    "train_elbo": -96.5,
    "ms_per_step": 4.125,
}
RESULTS = {
    "title": "mnist",
    "command": "python run.py --flagfile=runs/mnist/flags.txt",
    "dataset": {
        "asked": "mnist",
        "used": "mnist_5k",
        "substitution": "mnist could not be reached; mnist_5k was used.",
        "warnings": ["Few test images."],
        "num_train": 4000,
        "image_shape": [28, 28, 1],
        "binarize": "dynamic",
    },
    "flags": {"beta": "1.0", "network": "mlp"},
    "runs": [RUN],
    "kl_per_latent": [[2.5] * 5 + [1.25] * 10],
    "versions": {"jax": "0.10.2"},
    "device": "cpu",
    "precision": "float32",
    "seconds": {"train": 21.4},
    "peak_memory_mb": 812.0,
    "commit": "abc1234",
    "notes": ["A note."],
}


def study(**changes):
    """Three runs that differ in beta; run 1 is the best on valid, run 0 on test."""
    values = [(0.5, -97.0, -99.5), (1.0, -98.0, -99.0), (4.0, -110.0, -111.0)]
    runs = [
        {**RUN, "run": run, "beta": beta, "test_elbo": test, "valid_elbo": valid}
        for run, (beta, test, valid) in enumerate(values)
    ]
    for run in runs:
        run["ms_per_step"] = 4.0 + run["run"]
    kl_per_latent = [[1.0]] * 3
    return {**RESULTS, "swept": ["beta"], "runs": runs, "kl_per_latent": kl_per_latent, **changes}


def evaluated(**meanings):
    """Return what results.json holds about an evaluator that somebody added."""
    own = [Column(*each, columns.NUMBER, "title", has_error=True) for each in meanings.items()]
    return {"columns": columns.described(own), "evaluations": {"new": list(meanings)}}


def one(**changes):
    return {**RESULTS, "runs": [{**RUN, **changes}]}


def render(tmp_path, results, figures=()):
    report.write(tmp_path / "report.html", results, list(figures))
    return (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def figure(tmp_path):
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 400, 300) + b"\x08\x02\0\0\0"
    (tmp_path / "x.png").write_bytes(png)
    return report.Figure(tmp_path / "x.png", "Samples", "Means of p(x|z).")


def without_script(text):
    """Return a page without its script."""
    return re.sub("<script>.*</script>", "", text, flags=re.DOTALL)


HOLES = re.compile(r"\b(None|nan|NaN)\b")
"""Texts that a missing value becomes where nobody thought of it."""


class Tags(HTMLParser):
    """Collects what a browser would load, and holds that every tag is closed."""

    void = ("meta", "link", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.names = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


class TestPage:
    def test_is_well_formed_and_loads_nothing_from_outside(self, tmp_path, figure):
        for results in (RESULTS, study()):
            tags = Tags(render(tmp_path, results, [figure]))
            assert tags.loads
            assert all(load.startswith("data:") for load in tags.loads)

    def test_only_the_script_of_a_study_may_run(self, tmp_path, figure):
        assert "script" not in Tags(render(tmp_path, RESULTS)).names
        text = render(tmp_path, study())
        (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'\"" in text

    def test_figures_are_inside_with_their_words(self, tmp_path, figure):
        text = render(tmp_path, RESULTS, [figure])
        assert base64.b64encode(figure.path.read_bytes()).decode() in text
        assert "Means of p(x|z)." in text
        assert "width='300'" in text

    def test_evaluations_stand_with_their_errors_and_what_they_mean(self, tmp_path):
        results = one(mig=0.25, mig_se=0.0123, num_samples=5000, sap=None)
        meanings = evaluated(mig="a <gap>", num_samples="how many", sap="x")
        text = render(tmp_path, {**results, **meanings})
        part = text[text.index("Evaluations") : text.index("Command to repeat it")]
        assert re.findall("<td>(.*?)</td>", part) == [
            *("<b>mig</b>", "0.25", "0.012", "", "a &lt;gap&gt;"),
            *("<b>num_samples</b>", "5,000", "", "", "how many"),
        ]
        Tags(text)

    def test_a_study_has_the_evaluations_of_every_run(self, tmp_path):
        results = study(**evaluated(mig="a gap", sap="never measured"))
        for run in results["runs"][:2]:
            run["mig"] = 0.5 + run["run"]
        text = render(tmp_path, results)
        part = text[text.index("Evaluations of all runs") : text.index("Command to repeat it")]
        assert re.findall("<th>(.*?)</th>", part) == ["run", "beta", "mig"]
        cells = re.findall("<td>(.*?)</td>", part)
        assert cells == ["0", "0.5", "0.5", "1", "1", "1.5", "2", "4", "&ndash;"]
        assert "Evaluations of all runs" not in render(tmp_path, RESULTS)

    def test_a_diagnosis_is_of_the_run_that_is_shown_and_its_flags_are_not_broken(self, tmp_path):
        words = [["of run 0"], ["Try --prior=vamp, or a larger --beta."], ["of run 2"]]
        text = render(tmp_path, study(diagnosis=words, reading=["The study says so."]))
        assert "Try <code>--prior=vamp</code>, or a larger <code>--beta</code>." in text
        assert "of run" not in without_script(text)
        assert "<p>The study says so.</p>" in text

    def test_headline_names_data_terms_errors_and_particles(self, tmp_path):
        text = render(tmp_path, RESULTS)
        header = text[text.index("<header>") : text.index("</header>")]
        for part in (
            "mnist_5k",
            "28 x 28 x 1",
            "98.00",
            "0.50",
            "95.00",
            "0.45",
            "K\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}500",
        ):
            assert part in header

    def test_a_substitution_stands_before_the_numbers(self, tmp_path):
        text = render(tmp_path, RESULTS)
        notice = text.index("mnist could not be reached; mnist_5k was used.")
        assert text.index("class='notice'") < notice < text.index("Test terms")

    def test_without_a_substitution_there_is_no_notice(self, tmp_path):
        results = copy.deepcopy(RESULTS)
        results["dataset"]["substitution"] = ""
        assert "class='notice'" not in render(tmp_path, results)

    def test_has_command_flags_data_and_provenance(self, tmp_path):
        text = render(tmp_path, RESULTS)
        assert "<pre>python run.py --flagfile=runs/mnist/flags.txt</pre>" in text
        for part in ("<dd>mlp</dd>", "<dd>4000</dd>", "<dd>0.10.2</dd>", "<dd>abc1234</dd>"):
            assert part in text
        assert "Few test images." in text
        assert "A note." in text

    @pytest.mark.parametrize("key", [key for key in RESULTS if key != "runs"])
    def test_any_other_part_may_be_missing(self, tmp_path, key):
        text = render(tmp_path, {name: RESULTS[name] for name in RESULTS if name != key})
        assert "body" in Tags(text).names
        assert not HOLES.search(text)

    @pytest.mark.parametrize("key", [key for key in RUN if key != "run"])
    def test_any_term_may_be_missing(self, tmp_path, key):
        run = {name: RUN[name] for name in RUN if name != key}
        for results in (one(**{key: None}), {"runs": [run]}):
            text = render(tmp_path, results)
            assert "body" in Tags(text).names
            assert not HOLES.search(text)

    def test_everything_is_escaped(self, tmp_path, figure):
        evil = "<b>&'\"$body"
        results = {
            **study(),
            "title": evil,
            "command": evil,
            "dataset": {"used": evil, "substitution": evil, "warnings": [evil], "splits": evil},
            "flags": {evil: evil},
            "versions": {evil: evil},
            "notes": [evil],
        }
        results["swept"] = ["beta", "network"]
        for run in results["runs"]:
            run["network"] = evil
        results["runs"][0] |= {"diverged": 3, "diverged_reason": evil, "test_elbo": None}
        text = render(tmp_path, results, [figure._replace(title=evil, caption=evil)])
        assert "<b>&'" not in text
        assert text.count("&lt;b&gt;&amp;&#x27;&quot;$body") > 12
        Tags(text)

    def test_a_study_has_a_row_per_run_and_marks_the_best(self, tmp_path):
        text = render(tmp_path, study())
        table = text[text.index("All runs") : text.index("Command to repeat it")]
        rows = re.findall(r"<tr.*?</tr>", table)
        assert len(rows) == 4
        assert ["class='best'" in row for row in rows] == [False, False, True, False]
        assert "<th>beta</th>" in rows[0]
        assert "<th>seed</th>" not in rows[0]
        assert "<th>diverged</th>" not in rows[0]
        assert "Shaded: run 1, which has the highest valid ELBO." in table
        assert "Greyed" not in table

    def test_a_study_greys_what_diverged_with_its_step(self, tmp_path):
        results = study()
        results["runs"][2] |= {"diverged": 411, "test_elbo": None, "test_kl": None}
        text = render(tmp_path, results)
        table = text[text.index("All runs") : text.index("Command to repeat it")]
        rows = re.findall(r"<tr.*?</tr>", table)
        assert ["class='diverged'" in row for row in rows] == [False, False, False, True]
        assert rows[3].endswith("<td>411</td></tr>")
        assert "<td>&ndash;</td>" in rows[3]
        assert "Greyed" in table

    def test_a_study_says_at_once_what_was_swept_and_which_run_is_best(self, tmp_path):
        results = study()
        results["runs"][2]["diverged"] = 0
        text = render(tmp_path, results)
        header = text[text.index("<header>") : text.index("</header>")]
        assert "Study of 3 variational autoencoders on mnist_5k" in header
        assert "The best is run 1, with beta = 1, chosen by its valid ELBO." in header
        assert "3 beta, 1 diverged" in header
        assert "\N{MINUS SIGN}98.00" in header
        assert "<dt>beta</dt><dd>0.5; 1; 4</dd>" in text

    def test_the_speed_is_the_median_of_the_runs(self, tmp_path):
        assert "<dt>ms per step</dt><dd>4.125</dd>" in render(tmp_path, RESULTS)
        text = render(tmp_path, study())
        assert "<dt>ms per step and run (median)</dt><dd>5</dd>" in text

    def test_steps_are_in_the_headline_only_where_all_runs_have_the_same(self, tmp_path):
        results = study()
        assert "5,000 training steps" in render(tmp_path, results)
        results["runs"][0]["step"] = 10
        assert "training steps" not in without_script(render(tmp_path, results))

    def test_numpy_numbers_and_nan_are_welcome(self, tmp_path):
        text = render(tmp_path, one(test_kl=np.float32(25.0), test_nll=np.float32("nan")))
        assert "<td>25.00</td>" in text
        assert "nan" not in re.sub("base64,[^']*", "", text).lower()

    def test_absurd_numbers_are_short_everywhere(self, tmp_path):
        names = ("test_elbo", "test_nll", "test_kl", "test_log_likelihood", "valid_elbo")
        results = study()
        for run in results["runs"]:
            run |= dict.fromkeys(names, -1e25 / 3) | {"test_elbo_se": 1e24 / 3}
        text = render(tmp_path, results)
        assert "3.33e+24" in text
        assert not re.search(r"\d[\d,]{12}", text)

    def test_headings_of_a_study_name_the_best_run(self, tmp_path):
        headings = re.findall("<h2>(.*?)</h2>", render(tmp_path, study(diagnosis=[["a"]] * 3)))
        of_best = [heading for heading in headings if heading.endswith("best run, number 1")]
        assert [heading.partition(" of ")[0] for heading in of_best] == [
            "Diagnostics",
            "Test terms",
        ]

    def test_what_limits_the_numbers_stands_with_the_diagnostics(self, tmp_path):
        text = render(tmp_path, one(beta=4.0) | {"diagnosis": [["Try --prior=vamp."]]})
        part = text[text.index("Diagnostics") : text.index("Test terms")]
        assert re.findall("<p>(.*?)</p>", part)[1:] == ["Try <code>--prior=vamp</code>."]
        assert "beta = 4" in part

    def test_durations_have_units(self, tmp_path):
        text = render(tmp_path, {**RESULTS, "seconds": {"train": 125.0, "data": 0.25}})
        assert "<dt>time, train</dt><dd>2 min 5 s</dd>" in text
        assert "<dt>time, data</dt><dd>0.2 s</dd>" in text

    def test_a_study_in_which_all_diverged(self, tmp_path):
        runs = [{**RUN, "run": run, "test_elbo": math.nan, "diverged": 7} for run in range(2)]
        text = render(tmp_path, study(runs=runs))
        assert "Every run diverged." in text
        assert "run 1 (beta = 1) at step 7" in text.replace("beta = 1.0", "beta = 1")
