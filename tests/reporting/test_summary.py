"""Sentences of a summary follow from the numbers: each is asserted by its number and setting."""

import math

import pytest

from vae_jax.reporting import summary
from vae_jax.runtime import files

MINUS = "\N{MINUS SIGN}"
RUN = {
    "run": 0,
    "beta": 1.0,
    "latent_size": 20,
    "seed": 0,
    "diverged": "",
    "test_elbo": -98.0,
    "test_elbo_se": 0.5,
    "test_log_likelihood": -73.0,
    "test_kl": 25.0,
    "test_nll": 95.0,
    "eval_particles": 500,
    "active_units": 18,
    "valid_elbo": -99.0,
    "train_elbo": -96.5,
}


def of_run(**changes):
    return summary.summarize_run({**RUN, **changes})


def row(run, beta, seed, elbo, kl, active, **changes):
    """Return a run whose valid ELBO is one nat below that of test, and whose terms add up."""
    terms = {"test_elbo": elbo, "valid_elbo": elbo - 1, "test_kl": kl, "active_units": active}
    own = {"run": run, "beta": beta, "seed": seed, "test_log_likelihood": elbo + kl}
    return {**RUN, **own, **terms, **changes}


ROWS = [
    row(0, 0.5, 0, -101.0, 30.0, 20),
    row(1, 0.5, 1, -103.0, 32.0, 20),
    row(2, 1.0, 0, -98.0, 25.0, 20),
    row(3, 1.0, 1, -100.0, 26.0, 20),
    row(4, 8.0, 0, -120.0, 9.0, 6),
    row(5, 8.0, 1, -122.0, 10.0, 5),
]
LOST = {"test_elbo": None, "valid_elbo": None, "active_units": None, "test_kl": None}


def changed(run, **changes):
    return [{**r, **changes} if r["run"] == run else r for r in ROWS]


def of_study(rows=ROWS, swept=("beta", "seed")):
    return summary.summarize_study(files.finite(rows), list(swept))


def one_with(sentences, *parts):
    """Return the only sentence that has all the parts."""
    (found,) = (each for each in sentences if all(part in each for part in parts))
    return found


class TestOfRun:
    def test_a_healthy_run_needs_no_sentence(self):
        assert of_run() == []

    def test_a_mutual_information_at_the_limit_of_the_examples_is_reported(self):
        assert of_run(mutual_information=4.3, decomposition_examples=100) == []
        (found,) = of_run(mutual_information=4.6, decomposition_examples=100)
        for part in ("4.60 nats", "ln 100 = 4.61", "--decomposition_examples"):
            assert part in found

    def test_an_nll_above_minus_the_elbo_asks_for_more_particles(self):
        assert of_run(test_nll=98.0) == []
        (found,) = of_run(test_nll=98.25)
        for part in ("K = 500", "0.25 nats", "--eval_particles"):
            assert part in found

    def test_a_beta_other_than_one_is_reported(self):
        (found,) = of_run(beta=4.0)
        assert "beta = 4;" in found

    def test_a_code_without_a_density_has_a_distortion(self):
        (found,) = of_run(test_elbo=None, test_kl=None, test_nll=None)
        assert "73.00 nats" in found

    @pytest.mark.parametrize(
        ("changes", "parts"),
        [
            ({"diverged": 1200}, ["Run 0", "step 1,200"]),
            ({"diverged": 0, "diverged_reason": "loss"}, ["Run 0", "step 0", "(loss)"]),
            ({"test_elbo": None, "test_log_likelihood": None}, ["Run 0", "diverged"]),
        ],
    )
    def test_a_diverged_run_has_one_sentence(self, changes, parts):
        (found,) = of_run(**changes, beta=4.0)
        assert all(part in found for part in parts)

    def test_without_numbers_there_are_no_sentences(self):
        assert summary.summarize_run({"run": 0, "test_elbo": -98.0}) == []


class TestBestRun:
    def test_is_named_with_its_settings_its_lead_and_its_test_elbo(self):
        found = of_study()[0]
        for part in ("Run 2", "beta = 1, seed = 0", "best of 6", "valid ELBO", f"{MINUS}99.00"):
            assert part in found
        assert "2.00 nats above run 3" in found
        assert f"test ELBO is {MINUS}98.00 ± 0.50" in found
        assert "too good" not in found

    def test_a_choice_on_test_is_reported(self):
        found = of_study(changed(3, valid_elbo=None))[0]
        assert f"test ELBO, {MINUS}98.00" in found
        assert "too good" in found

    def test_a_lead_smaller_than_the_spread_over_seeds_is_marked(self):
        assert "less than seeds differ" not in of_study()[0]
        found = of_study(changed(3, valid_elbo=-99.1))[0]
        assert "0.10 nats above run 3 (less than seeds differ)" in found

    def test_a_tie_is_reported(self):
        assert "equal to that of the later run 3" in of_study(changed(3, valid_elbo=-99.0))[0]

    def test_absurd_numbers_are_short(self):
        found = of_study(changed(2, test_elbo=-1e25, test_elbo_se=2e24))[0]
        assert f"{MINUS}1.00e+25 ± 2.00e+24" in found


class TestBestSetting:
    def test_is_a_mean_over_seeds_with_its_error(self):
        found = of_study(changed(3, valid_elbo=-110.0, test_elbo=-109.0))[1]
        for part in ("beta = 0.5", "valid ELBO", f"{MINUS}102.00 ± 1.00", "errors over seeds"):
            assert part in found

    def test_of_which_one_seed_is_left_has_the_error_over_examples(self):
        found = of_study(changed(3, **LOST, diverged=9))[1]
        for part in ("beta = 1 ", f"{MINUS}98.00 ± 0.50", "errors over test examples"):
            assert part in found

    def test_needs_an_axis_and_seeds(self):
        assert not any("Averaged" in each for each in of_study(ROWS[2:4], ("seed",)))
        assert not any("Averaged" in each for each in of_study(ROWS[::2], ("beta",)))


class TestEffects:
    def test_an_axis_of_numbers_has_its_best_value_and_the_course_of_the_terms(self):
        found = one_with(of_study(), "Effect of beta")
        assert f"highest at 1 ({MINUS}99.00) and lowest at 8 ({MINUS}121.00)" in found
        assert "KL (rate) falling from 31.00 to 9.50 nats" in found
        assert f"log-likelihood falling from {MINUS}71.00 to {MINUS}111.50 nats" in found
        assert "active units falling from 20 to 5.5" in found

    @pytest.mark.parametrize(
        ("rates", "words"),
        [
            ((30.0, 31.0, 9.0), "varying between 9.00 and 31.00 nats"),
            ((9.0, 9.0, 9.0), "constant at 9.00 nats"),
            ((9.0, 9.0, 30.0), "rising from 9.00 to 30.00 nats"),
        ],
    )
    def test_the_course_of_a_term_is_named_truly(self, rates, words):
        rows = [{**ROWS[2 * i], "test_kl": rate} for i, rate in enumerate(rates)]
        assert f"KL (rate) {words}" in one_with(of_study(rows), "Effect of beta")

    def test_the_others_are_held_at_the_best_values(self):
        other = [{**r, "run": r["run"] + 6, "batch_size": 64, "test_kl": 0.0} for r in ROWS]
        rows = [{**r, "batch_size": 128, "valid_elbo": r["valid_elbo"] + 5} for r in ROWS]
        sentences = of_study([*other, *rows], ("beta", "batch_size", "seed"))
        of_beta = one_with(sentences, "Effect of beta (at batch_size = 128)")
        assert "falling from 31.00 to 9.50 nats" in of_beta
        of_batch = one_with(sentences, "Effect of batch_size (at beta = 1)")
        assert "KL (rate) rising from 0.00 to 25.50 nats" in of_batch

    def test_an_axis_of_words_has_its_best_and_its_worst_value_alone(self):
        rows = [{**r, "beta": f"b{r['beta']:g}"} for r in ROWS]
        found = one_with(of_study(rows), "Effect of beta")
        assert f"highest at b1 ({MINUS}99.00) and lowest at b8 ({MINUS}121.00)." in found

    def test_diverged_runs_count_nowhere(self):
        found = one_with(of_study(changed(5, **LOST, diverged=411)), "Effect of beta")
        assert "falling from 31.00 to 9.00 nats" in found

    def test_a_study_of_which_little_is_known(self):
        rows = [{"run": run, "beta": float(run), "test_elbo": -1.0 - run} for run in range(3)]
        found = one_with(of_study(rows, ("beta",)), "Effect of beta")
        assert f"highest at 0 ({MINUS}1.00) and lowest at 2 ({MINUS}3.00)." in found


class TestTheRest:
    def test_the_spread_over_seeds_is_pooled(self):
        one_with(of_study(), "1.41 nats", "over seeds", "3 settings")

    def test_seeds_alone_have_a_spread_and_no_axis(self):
        sentences = of_study(ROWS[2:4], ("seed",))
        assert "settings" not in one_with(sentences, "1.41 nats", "deviation")
        assert not any("Effect" in each for each in sentences)

    def test_diverged_runs_are_listed_with_step_and_reason(self):
        rows = changed(5, **LOST, diverged=411, diverged_reason="encoder/kernel")
        found = one_with(of_study(rows), "1 of 6 runs")
        assert "run 5 (beta = 8, seed = 1) at step 411 (encoder/kernel)" in found

    def test_many_diverged_runs_are_cut_short(self):
        rows = [{**RUN, **LOST, "run": run, "seed": run, "diverged": 1} for run in range(8)]
        every, lost = of_study(rows, ("seed",))
        assert every == "Every run diverged."
        assert [f"run {run} " in lost for run in range(8)] == [True] * 5 + [False] * 3
        assert "3 more" in lost

    def test_runs_that_cannot_be_compared_are_named_by_the_flag(self):
        rows = [{**r, "likelihood": "bernoulli"} for r in ROWS]
        one_with(of_study(rows, ("beta", "seed", "likelihood")), "likelihood model", "compared")
        assert not any("compared" in each for each in of_study())

    @pytest.mark.parametrize("name", [name for name in RUN if name not in ("run", "beta", "seed")])
    def test_any_number_may_be_missing(self, name):
        without = [{key: value for key, value in r.items() if key != name} for r in ROWS]
        for rows in (without, [{**r, name: math.nan} for r in ROWS]):
            text = " ".join([*of_study(rows), *summary.summarize_run(files.finite(rows[0]))])
            assert "None" not in text
            assert "nan" not in text
