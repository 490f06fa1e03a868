"""The page is one file, escaped, without requests, and its sentences follow from its numbers."""

import base64
import copy
import math
import re
import struct
from html.parser import HTMLParser

import numpy as np
import pytest

from vae_jax import report

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
    "ms_per_step": 4.12,
    "peak_memory_mb": 812.0,
    "commit": "abc1234",
    "notes": ["A note."],
}


def study(**changes):
    """Three runs that differ in beta; run 1 is the best."""
    runs = [
        {**RUN, "run": run, "beta": beta, "test_elbo": elbo, "seconds": float(run)}
        for run, (beta, elbo) in enumerate([(0.5, -99.0), (1.0, -98.0), (4.0, -110.0)])
    ]
    return {**RESULTS, "runs": runs, "kl_per_latent": [[1.0]] * 3, **changes}


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
        tags = Tags(render(tmp_path, study(), [figure]))
        assert "script" not in tags.names
        assert tags.loads
        assert all(load.startswith("data:") for load in tags.loads)

    def test_figures_are_inside_with_their_words(self, tmp_path, figure):
        text = render(tmp_path, RESULTS, [figure])
        assert base64.b64encode(figure.path.read_bytes()).decode() in text
        assert "Means of p(x|z)." in text
        assert "width='300'" in text

    def test_headline_names_data_terms_errors_and_particles(self, tmp_path):
        text = render(tmp_path, RESULTS)
        header = text[text.index("<header>") : text.index("</header>")]
        for part in ("mnist_5k", "28 x 28 x 1", "98.00", "0.50", "95.00", "0.45", "K = 500"):
            assert part in header

    def test_a_substitution_stands_before_the_numbers(self, tmp_path):
        text = render(tmp_path, RESULTS)
        notice = text.index("mnist could not be reached; mnist_5k was used.")
        assert text.index("class='notice'") < notice < text.index("What the numbers say")

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
        Tags(render(tmp_path, {name: RESULTS[name] for name in RESULTS if name != key}))

    @pytest.mark.parametrize("key", [key for key in RUN if key != "run"])
    def test_any_term_may_be_missing(self, tmp_path, key):
        Tags(render(tmp_path, one(**{key: None})))
        run = {name: RUN[name] for name in RUN if name != key}
        Tags(render(tmp_path, {"runs": [run]}))

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
        results["runs"][0] |= {"diverged": evil, "network": evil, "test_elbo": None}
        text = render(tmp_path, results, [figure._replace(title=evil, caption=evil)])
        assert "<b>&'" not in text
        assert text.count("&lt;b&gt;&amp;&#x27;&quot;$body") > 12
        Tags(text)

    def test_a_study_has_a_row_per_run_and_marks_the_best(self, tmp_path):
        text = render(tmp_path, study())
        table = text[text.index("All runs") : text.index("Test terms")]
        rows = re.findall(r"<tr.*?</tr>", table)
        assert len(rows) == 4
        assert ["class='best'" in row for row in rows] == [False, False, True, False]
        assert "<th>beta</th>" in rows[0]
        assert "<th>seed</th>" not in rows[0]
        assert "<th>seconds</th>" not in rows[0]
        assert "Shaded: run 1, which has the highest test ELBO." in table

    def test_numpy_numbers_and_nan_are_welcome(self, tmp_path):
        text = render(tmp_path, one(test_kl=np.float32(25.0), test_nll=np.float32("nan")))
        assert "<td>25.00</td>" in text
        assert "nan" not in re.sub("base64,[^']*", "", text).lower()

    def test_a_study_in_which_all_diverged(self, tmp_path):
        runs = [{**RUN, "run": run, "test_elbo": math.nan, "diverged": 7} for run in range(2)]
        text = render(tmp_path, study(runs=runs))
        assert "Every run diverged." in text
        assert "Run 1 diverged at step 7" in text


class TestBestRun:
    def test_is_the_one_with_the_highest_test_elbo(self):
        assert report.best_run(study())["run"] == 1

    def test_passes_over_what_is_not_finite(self):
        results = study()
        results["runs"][1]["test_elbo"] = np.nan
        assert report.best_run(results)["run"] == 0

    def test_is_none_where_all_diverged(self):
        assert report.best_run(one(test_elbo=None)) is None


class TestInWords:
    def test_a_single_run(self):
        assert report.in_words(RESULTS) == [
            "The importance-weighted bound with K = 500 samples is 3.00 nats tighter than the "
            "ELBO: at least that much is lost by the approximate posterior, not by the decoder.",
            "The code of an image costs 25.00 nats (36.1 bits; the rate), and 73.00 nats remain "
            "to be paid for its pixels (the distortion).",
            "18 of 20 latents are active; the posterior mean of the other 2 hardly depends on "
            "the image. The five most informative carry 50% of the rate.",
            "The train ELBO is 2.50 nats above that of valid (generalisation gap).",
        ]

    def test_a_bound_below_the_elbo_is_called_noise(self):
        (sentence, *_) = report.in_words(one(test_nll=98.25))
        assert "0.25 nats below the ELBO" in sentence
        assert "noise" in sentence

    def test_all_latents_active(self):
        assert "All 20 latents are active." in " ".join(report.in_words(one(active_units=20)))

    def test_valid_better_than_train(self):
        assert report.in_words(one(valid_elbo=-96.0))[-1] == (
            "The valid ELBO is 0.50 nats above that of train: no overfitting."
        )

    def test_beta_is_said_where_it_is_not_one(self):
        assert report.in_words(one(beta=4.0))[-1] == (
            "The run was trained with beta = 4; the test terms are those of the true ELBO, with "
            "beta = 1."
        )

    def test_a_study_names_its_best_run_and_its_lead(self):
        sentence = report.in_words(study())[0]
        assert sentence == (
            "Of 3 runs, run 1 (beta = 1) has the highest test ELBO, 1.00 nats above run 0; the "
            "lowest is \N{MINUS SIGN}110.00. What follows is about run 1."
        )

    def test_a_lead_below_the_standard_error_is_said(self):
        results = study()
        results["runs"][0]["test_elbo"] = -98.4
        assert "0.40 nats above run 0 (less than one standard error)" in report.in_words(results)[0]

    @pytest.mark.parametrize(
        ("mark", "words"),
        [
            (1200, "Run 2 diverged at step 1,200; its terms are left empty."),
            ("loss at step 12", "Run 2 diverged (loss at step 12); its terms are left empty."),
            ("", "Run 2 diverged; its terms are left empty."),
        ],
    )
    def test_a_diverged_run_is_named(self, mark, words):
        results = study()
        results["runs"][2] |= {"test_elbo": math.nan, "diverged": mark}
        assert report.in_words(results)[-1] == words

    def test_without_numbers_there_are_no_sentences(self):
        assert report.in_words({"runs": [{"run": 0, "test_elbo": -98.0}]}) == []
