"""Sentences follow from the numbers, and say what they do not show."""

import pytest

from vae_jax.evaluation import columns, evaluators
from vae_jax.evaluation.evaluators import EVALUATORS
from vae_jax.reporting import summary
from vae_jax.reporting.summary import number
from vae_jax.runtime import files

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


def of_run(kl_per_latent=((),), **changes):
    run = {**RUN, **changes}
    return summary.summarize_run({"runs": [run], "kl_per_latent": kl_per_latent}, run)


def row(run, beta, seed, elbo, kl, active, **changes):
    """A run whose valid ELBO is one nat below that of test, and whose terms add up."""
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
    described = columns.described(evaluators.columns(EVALUATORS))
    results = {"runs": rows, "swept": list(swept), "columns": described}
    return summary.summarize_study(files.finite(results))


def one_that(sentences, words):
    (found,) = (sentence for sentence in sentences if words in sentence)
    return found


class TestOfRun:
    def test_a_whole_run(self):
        assert of_run([[2.5] * 5 + [1.25] * 10]) == [
            "The importance-weighted bound with K = 500 samples is 3.00 nats tighter than the "
            "ELBO: at least that much is lost by the approximate posterior, not by the decoder.",
            "The code of an image costs 25.00 nats (36.1 bits; the rate), and 73.00 nats remain "
            "to be paid for its pixels (the distortion).",
            "18 of 20 latents are active; the posterior mean of the other 2 hardly depends on "
            "the image. The five most informative carry 50% of the rate.",
            "The train ELBO is 2.50 nats above that of valid (generalisation gap).",
        ]

    def test_what_the_kl_consists_of_and_where_the_examples_are_too_few(self):
        parts = {"total_correlation": 4.5, "dimensionwise_kl": 0.5, "decomposition_examples": 100}
        told = one_that(of_run(**parts, mutual_information=4.0), "Of the KL")
        assert told == (
            "Of the KL 4.00 nats are information on which image it was (at most ln 100 = 4.61), "
            "4.50 nats dependence between latents and 0.50 nats the distance of single latents "
            "from the prior."
        )
        told = one_that(of_run(**parts, mutual_information=4.6), "Of the KL")
        assert "which is all that 100 examples can show (ln 100 = 4.61)" in told

    def test_a_bound_below_the_elbo_is_called_noise(self):
        (sentence, *_) = of_run(test_nll=98.25)
        assert "0.25 nats below the ELBO" in sentence
        assert "noise" in sentence

    def test_all_latents_active(self):
        assert "All 20 latents are active." in of_run(active_units=20)

    def test_valid_better_than_train(self):
        assert of_run(valid_elbo=-96.0)[-1] == (
            "The valid ELBO is 0.50 nats above that of train: no overfitting."
        )

    def test_beta_is_said_where_it_is_not_one(self):
        assert of_run(beta=4.0)[-1] == (
            "The run was trained with beta = 4; the test terms are those of the true ELBO, with "
            "beta = 1."
        )

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"diverged": 1200}, "Run 0 diverged at step 1,200; its terms are left empty."),
            (
                {"diverged": 0, "diverged_reason": "loss"},
                "Run 0 diverged at step 0 (loss); its terms are left empty.",
            ),
            (
                {"test_elbo": None, "test_log_likelihood": None},
                "Run 0 diverged; its terms are left empty.",
            ),
        ],
    )
    def test_a_diverged_run_has_one_sentence(self, changes, words):
        assert of_run(**changes) == [words]

    def test_without_numbers_there_are_no_sentences(self):
        run = {"run": 0, "test_elbo": -98.0}
        assert summary.summarize_run({"runs": [run]}, run) == []


class TestOfStudy:
    def test_the_best_is_named_with_its_lead_and_how_it_was_chosen(self):
        assert of_study()[0] == (
            "Run 2 (beta = 1, seed = 0) is the best of 6: its valid ELBO, \N{MINUS SIGN}99.00, is "
            "the highest, 2.00 nats above run 3. It was chosen on valid, so its test numbers had "
            "no part in the choice: the test ELBO is \N{MINUS SIGN}98.00 ± 0.50."
        )

    def test_choosing_on_test_is_confessed(self):
        sentence = of_study(changed(3, valid_elbo=None))[0]
        assert "its test ELBO, \N{MINUS SIGN}98.00, is the highest" in sentence
        assert "a little flattered" in sentence

    def test_a_lead_smaller_than_the_spread_over_seeds_is_said(self):
        rows = changed(3, valid_elbo=-99.1)
        assert "0.10 nats above run 3 (less than seeds differ)" in of_study(rows)[0]

    def test_a_tie_is_said(self):
        sentence = of_study(changed(3, valid_elbo=-99.0))[0]
        assert "is the highest, and equal to that of run 3, which comes later." in sentence

    @pytest.mark.parametrize(
        ("rates", "words"),
        [
            ((30.0, 31.0, 9.0), "the rate goes unsteadily from 30.00 to 9.00 nats"),
            ((9.0, 9.0, 9.0), "the rate stays at 9.00 nats"),
            ((9.0, 9.0, 30.0), "the rate rises from 9.00 to 30.00 nats"),
        ],
    )
    def test_the_course_of_a_term_is_named_truly(self, rates, words):
        rows = [{**ROWS[2 * i], "test_kl": rate} for i, rate in enumerate(rates)]
        assert words in one_that(of_study(rows), "As beta")

    def test_the_best_setting_is_a_mean_over_seeds(self):
        rows = changed(3, valid_elbo=-110.0, test_elbo=-109.0)
        assert of_study(rows)[1] == (
            "With each setting averaged over its seeds, beta = 0.5 has the highest valid ELBO; its "
            "test ELBO is \N{MINUS SIGN}102.00 ± 1.00 (standard error over seeds)."
        )

    def test_an_axis_tells_what_grows_and_falls(self):
        assert of_study()[2] == (
            "As beta grows from 0.5 to 8, the rate falls from 31.00 to 9.50 nats; the distortion "
            "rises from 71.00 to 111.50 nats; the number of active units falls from 20 "
            "to 5.5; the test ELBO is highest at beta = 1 (\N{MINUS SIGN}99.00) and lowest at 8 "
            "(\N{MINUS SIGN}121.00)."
        )

    def test_an_axis_tells_what_was_evaluated(self):
        measured = {0.5: (9.0, 0.02061), 1.0: (4.0, 0.03), 8.0: (0.25, 0.025)}
        names = ("total_correlation", "mig")
        rows = [{**r, **dict(zip(names, measured[r["beta"]], strict=True))} for r in ROWS]
        assert one_that(of_study(rows), "With growing") == (
            "With growing beta the total correlation falls from 9.00 to 0.25 nats; the MIG goes "
            "unsteadily from 0.021 to 0.025."
        )
        assert not any("With growing" in words for words in of_study())

    def test_an_axis_is_followed_at_the_best_values_of_the_others(self):
        other = [{**r, "run": r["run"] + 6, "batch_size": 64, "test_kl": 0.0} for r in ROWS]
        rows = [{**r, "batch_size": 128, "valid_elbo": r["valid_elbo"] + 5} for r in ROWS]
        words = of_study([*other, *rows], ("beta", "batch_size", "seed"))
        assert one_that(words, "As beta").startswith(
            "As beta grows from 0.5 to 8 (at batch_size = 128), the rate falls from 31.00 to 9.50"
        )
        assert one_that(words, "As batch_size").startswith(
            "As batch_size grows from 64 to 128 (at beta = 1), the rate rises from 0.00 to 25.50"
        )

    def test_an_axis_of_words_tells_its_ends(self):
        rows = [{**r, "beta": f"b{r['beta']:g}"} for r in ROWS]
        assert of_study(rows)[2] == (
            "Among the values of beta, b1 has the highest test ELBO, \N{MINUS SIGN}99.00, and b8 "
            "the lowest, \N{MINUS SIGN}121.00."
        )

    def test_unused_latents(self):
        assert one_that(of_study(), "Every latent") == (
            "Every latent is active in 4 of 6 runs. Run 5 (beta = 8, seed = 1) leaves the most "
            "unused, 15 of 20."
        )
        rows = [{**r, "active_units": 20} for r in ROWS]
        assert "Every latent is active in every run." in of_study(rows)

    def test_the_spread_over_seeds_is_pooled(self):
        assert one_that(of_study(), "From seed to seed") == (
            "From seed to seed the test ELBO of one setting has a standard deviation of 1.41 nats, "
            "pooled over 3 settings: differences of that size between single runs may be luck."
        )

    def test_seeds_alone_have_a_spread_and_no_axis(self):
        words = of_study(ROWS[2:4], ("seed",))
        assert "1.41 nats: differences" in one_that(words, "From seed to seed")
        assert not any(sentence.startswith(("As ", "With each")) for sentence in words)

    def test_diverged_runs_are_listed_with_step_and_reason_and_count_nowhere(self):
        rows = changed(5, **LOST, diverged=411, diverged_reason="encoder/kernel")
        words = of_study(rows)
        assert one_that(words, "Diverged") == (
            "Diverged and left out of every mean, 1 of 6 runs: run 5 (beta = 8, seed = 1) at step "
            "411 (encoder/kernel)."
        )
        assert "the rate falls from 31.00 to 9.00 nats" in words[2]
        assert "of 5 runs" in one_that(words, "Every latent")

    def test_many_diverged_runs_are_cut_short(self):
        rows = [{**RUN, **LOST, "run": run, "seed": run, "diverged": 1} for run in range(8)]
        every, lost = of_study(rows, ("seed",))
        assert every == "Every run diverged."
        assert lost.count("run ") == 5
        assert lost.endswith("; 3 more are in the table.")

    def test_what_cannot_be_compared_is_said(self):
        rows = [{**r, "likelihood": "bernoulli"} for r in ROWS]
        words = of_study(rows, ("beta", "seed", "likelihood"))
        assert words[-1].startswith("Runs that differ in likelihood model different quantities")
        assert not any("cannot be compared" in sentence for sentence in of_study())

    def test_a_run_of_which_little_is_known_is_no_trouble(self):
        rows = [{"run": run, "beta": float(run), "test_elbo": -1.0 - run} for run in range(3)]
        words = of_study(rows, ("beta",))
        assert one_that(words, "As beta") == (
            f"As beta grows from 0 to 2, the test ELBO is highest at beta = 0 ({number(-1.0)}) and "
            f"lowest at 2 ({number(-3.0)})."
        )
