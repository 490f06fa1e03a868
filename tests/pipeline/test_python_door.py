"""What Python is given is checked as the command line checks flags: in one line, never silently."""

import dataclasses

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import vae_jax
from vae_jax import HParams, InputError
from vae_jax.config.members import KINDS
from vae_jax.data import Dataset, Provenance
from vae_jax.objectives.regularizers import REGULARIZERS
from vae_jax.reporting import plots
from vae_jax.settings import ValueType, check_settings, static_settings
from vae_jax.training.optimizers import OPTIMIZERS

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)
RECORD = Provenance("own", "own", "own", "cut")
LABELS = np.arange(40, dtype=np.int32) % 3
KEY = jax.random.key(0)


def dataset(**more) -> Dataset:
    arrays = dict(train=PIXELS[:20], valid=PIXELS[20:30], test=PIXELS[30:])
    arrays |= dict(train_labels=None, valid_labels=None, test_labels=None, record=RECORD)
    return Dataset(**arrays | more)


DATA = dataset()
CLASSES = dict(train_labels=LABELS[:20], valid_labels=LABELS[20:30], test_labels=LABELS[30:])


def spec(**more) -> vae_jax.TrainSpec:
    model = vae_jax.VAE((4, 4, 1), 3, vae_jax.MLP((5,)), num_classes=more.pop("num_classes", 0))
    return vae_jax.TrainSpec(**dict(model=model, batch_size=4) | more)


@pytest.fixture(scope="module")
def study(_unchecked):
    """Return two runs after two updates, scored."""
    grid = vae_jax.grid(beta=[1.0, 4.0], latent_size=3)
    return vae_jax.ablate(spec(), grid, DATA, 2, eval_every=1)


@pytest.fixture(scope="module")
def conditional(_unchecked):
    """Return a run that is given labels."""
    own = spec(num_classes=3)
    return vae_jax.fit(own, HParams.of(latent_size=3), dataset(**CLASSES), 1)


@pytest.fixture(autouse=True, scope="module")
def _unchecked():
    """Switch off the checks of types that only tests have: users meet those of the package."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def refused(call, *words: str) -> None:
    """Assert that a call is refused in one line with these words (warnings are errors here)."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


STATIC = [
    pytest.param(member, each, id=f"{name}-{each.name}")
    for kind in KINDS.values()
    for name, member in kind.items()
    for each in static_settings(member)
]
ODD = [None, "nonsense", -1, 1.5, "False", float("nan"), (0,), (1.5,), (True,), [3], 10**12, {}]


def _is_taken(value_type: ValueType, value: object) -> bool:
    """Return whether the command line could give a setting this value."""
    texts = [str(value), ",".join(map(str, value)) if isinstance(value, tuple) else ""]
    for text in texts:
        try:
            parsed = value_type.parse(text)
        except (ValueError, OverflowError):
            continue
        if value_type.is_valid(parsed) and type(parsed) is type(value) and parsed == value:
            return True
    return False


@pytest.mark.parametrize(("member", "setting"), STATIC)
def test_no_static_setting_takes_what_the_command_line_could_not_give(member, setting):
    for value in ODD:
        if not _is_taken(setting.type, value):
            refused(lambda v=value: check_settings(member(**{setting.name: v})), setting.name)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (dict(event_shape=[4, 4, 1]), "event_shape=[4, 4, 1]: is no tuple; give (4, 4, 1)"),
        (dict(event_shape=np.array([4, 4, 1])), "give (4, 4, 1)"),
        (dict(event_shape=(4.0, 4.0, 1.0)), "event_shape=(4.0, 4.0, 1.0): must be whole"),
        (dict(event_shape=(4, 4, True)), "must be whole numbers"),
        (dict(starts_at_mean="no"), "starts_at_mean=no: must be true or false"),
    ],
)
def test_a_model_of_odd_values_is_refused(value, words):
    refused(lambda: vae_jax.VAE(**dict(event_shape=(4, 4, 1), max_latents=2) | value), words)


def test_a_list_of_sizes_is_refused_with_the_tuple_to_give():
    network = vae_jax.MLP([5])
    refused(lambda: vae_jax.VAE((4, 4, 1), 2, network), "hidden_sizes=[5]: is no tuple; give (5,)")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (dict(model="vae"), "model=str: is no VAE"),
        (dict(regularizers=[REGULARIZERS["mmd"]()]), "regularizers=list: is no tuple"),
        (dict(regularizers=REGULARIZERS["mmd"]()), "regularizers=MMD: is no tuple"),
        (dict(regularizers=None), "regularizers=NoneType: is no tuple"),
        (dict(is_averaged="no"), "is_averaged=no: must be true or false"),
        (dict(is_patient=3), "is_patient=3: must be true or false"),
    ],
)
def test_a_specification_of_odd_values_is_refused(value, words):
    refused(lambda: spec(**value), words)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: HParams.of(beta=[[1.0], [2.0, 3.0]]), "beta=[[1.0], [2.0, 3.0]]: values of"),
        (lambda: HParams.of()._replace(latent_size=2.7), "latent_size=2.7: must be a whole number"),
        (lambda: HParams.of()._replace(seed=-1), "seed=-1: must be a whole number of uint32"),
        (lambda: HParams.of()._replace(beta="4"), "beta=4: must be a number"),
        (lambda: HParams.of()._replace(beta=True), "beta=True: must be a number"),
        (lambda: vae_jax.grid(beta=[1, 1.0]), "beta=1: occurs twice; give each value once"),
        (lambda: vae_jax.grid(seed=np.array([3, 0, 3])), "seed=3: occurs twice"),
        (lambda: HParams(beta=1.0).as_study(), "is missing from the hyperparameters"),
        (lambda: HParams.of(beta=[1, 2])._replace(seed=[1, 2, 3]).as_study(), "of one length"),
    ],
)
def test_hyperparameters_never_change_in_silence(make, words):
    refused(make, words)


def test_a_single_value_of_any_type_is_one_value():
    for value in (2.0, np.float32(2), np.array(2.0), jnp.array(2.0), [2.0], (v for v in [2])):
        assert vae_jax.grid(beta=value).beta.tolist() == [2.0]
    study = HParams.of(beta=[1, 2])._replace(seed=7).as_study()
    assert study.seed.tolist() == [7, 7]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (dict(train=PIXELS[:20].tolist()), "train=list: is no array"),
        (dict(train=None), "train=NoneType: is no array"),
        (dict(train=np.ma.masked_array(PIXELS[:20], PIXELS[:20] > 9)), "train=masked array"),
        (dict(train=PIXELS[:20, 0, 0, 0]), "train=array of shape (20,): holds no examples"),
        (dict(test=PIXELS[:0]), "test=array of shape (0, 4, 4, 1): holds no examples"),
        (dict(train_labels=LABELS[:20].tolist()), "train_labels=list: is no array"),
        (dict(test_labels=LABELS[30:] + 2**20), "test_labels=numbers up to 1048578"),
        (dict(train_factors=np.zeros((3, 2), int)), "train_factors=array of int64 and shape"),
        (dict(train_factors=np.zeros((20, 2))), "train_factors=array of float64"),
        (dict(valid_factors=np.full((10, 2), -1)), "valid_factors=array of int64"),
        (dict(record="mine"), "record=str: is no Provenance"),
        (dict(class_names=("a", "b")) | CLASSES, "are no names of 3 classes"),
        (dict(class_names="abc") | CLASSES, "class_names=abc: are no names"),
        (dict(class_names=(1, 2, 3)) | CLASSES, "are no names of 3 classes"),
        (dict(standardization="mean"), "standardization=str: is no Standardization"),
    ],
)
def test_a_data_set_of_odd_parts_is_refused(value, words):
    refused(lambda: dataset(**value), words)


def test_arrays_of_jax_become_those_of_numpy_with_all_their_values():
    own = dataset(train=jnp.asarray(PIXELS[:20]), class_names=["a", "b", "c"], **CLASSES)
    assert isinstance(own.train, np.ndarray)
    np.testing.assert_array_equal(own.train, DATA.train)
    assert own.class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(name=5), "dataset=int: is neither a name nor a path"),
        (dict(name=None), "dataset=NoneType: is neither"),
        (dict(name=PIXELS), "dataset=ndarray: is neither"),
        (dict(name="digits", data_dir=5), "data_dir=5: is no path"),
        (dict(name="digits", offline_dataset=5), "offline_dataset=int: is neither"),
        (dict(name="digits", resize=(8.5, 8)), "resize=(8.5, 8): must be HEIGHTxWIDTH"),
        (dict(name="x" * 5000), "no file or folder here"),
        (dict(name="vae_jax:VAE"), "dataset=vae_jax:VAE: is no function"),
    ],
)
def test_a_source_of_an_odd_name_is_refused(arguments, words, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    refused(lambda: vae_jax.load(**arguments), words)


def test_a_source_may_be_a_path(tmp_path):
    np.savez(tmp_path / "own.npz", x_train=PIXELS)
    assert vae_jax.load(tmp_path / "own.npz").event_shape == (4, 4, 1)


HPARAMS = HParams.of(latent_size=3)
STARTS = {
    "spec": (dict(spec=spec().model), "spec=VAE: is no TrainSpec"),
    "hparams": (dict(hparams={"beta": 1.0}), "hparams=dict: is no HParams"),
    "an empty hparams": (dict(hparams=HParams()), "is missing from the hyperparameters"),
    "no run": (dict(hparams=jax.tree.map(lambda a: a[None][:0], HPARAMS)), "of one length"),
    "data": (dict(data=PIXELS), "data=ndarray: is no Dataset"),
    "a name": (dict(data="digits"), "data=str: is no Dataset"),
    "on_progress": (dict(on_progress=3), "on_progress=3: cannot be called"),
    "loggers": (dict(loggers="wandb"), "loggers=str: is no list or tuple"),
    "no loggers": (dict(loggers=None), "loggers=NoneType: is no list or tuple"),
    "an idle regularizer": (
        dict(spec=spec(regularizers=(REGULARIZERS["mmd"](),))),
        "regularizers=MMD: has no effect without mmd_weight",
    ),
}


@pytest.mark.parametrize("start", [vae_jax.fit, vae_jax.ablate])
@pytest.mark.parametrize(("value", "words"), STARTS.values(), ids=STARTS.keys())
def test_a_training_of_odd_arguments_is_refused_before_it_begins(start, value, words, monkeypatch):
    monkeypatch.setattr("vae_jax.training.loop.initial_state", None)
    arguments = dict(spec=spec(), data=DATA, num_steps=1, hparams=HPARAMS) | value
    first, hparams, data = (arguments.pop(name) for name in ("spec", "hparams", "data"))
    refused(lambda: start(first, hparams, data, **arguments), words)


@pytest.mark.parametrize("run", [2, 7, -3, True, 1.0, "0", None, slice(0, 1), [0], np.array([0])])
def test_a_run_that_is_not_there_is_none(study, run):
    for call in (study.__getitem__, study.take):
        refused(lambda c=call: c(run), "run=", "the study has 2 runs, 0 to 1")
    for tree in (study.hparams, study.state, study.state.params):
        refused(lambda t=tree: vae_jax.take(t, run), "run=", "the arrays are of 2 runs, 0 to 1")
    if run is not None:  # which stands for the best
        for plot in (study.plot.samples, study.plot.curves):
            refused(lambda p=plot: p(run=run), "run=")
        refused(lambda: study.curve("valid_elbo", run), "run=")


def test_runs_are_counted_from_either_end(study):
    assert (study[-1].run, study[np.int64(1)].run, type(study[np.int64(1)].run)) == (1, 1, int)
    assert float(vae_jax.take(study.hparams, -1).beta) == 4.0
    curve, last = study.curve("valid_elbo", -1), study.curve("valid_elbo", 1)
    assert curve.value.tolist() == last.value.tolist()


def test_a_study_goes_on_with_its_own_data_alone(study):
    again = dataclasses.replace(DATA, train=DATA.train.copy())
    others = dataclasses.replace(DATA, train=255 - DATA.train)
    fewer = dataclasses.replace(DATA, test=DATA.test[:3])
    assert study.fit(again, 3, eval_every=1).table[0]["step"] == 3
    for data in (others, fewer):
        words = "data=own: is not what the study was trained on"
        refused(lambda d=data: study.fit(d, 3, eval_every=1), words)
        refused(lambda d=data: study.evaluate(d), words, "vae_jax.score scores others")
        assert len(vae_jax.score(study.spec, study.hparams, study.state, data)) == 2


def test_so_does_one_that_was_saved(study, tmp_path):
    loaded = vae_jax.load_run(study.save(tmp_path / "study"))
    others = dataclasses.replace(DATA, train=255 - DATA.train)
    refused(lambda: loaded.fit(others, 3, eval_every=1), "is not what the study was trained on")
    refused(lambda: loaded.evaluate(others), "is not what the study was trained on")
    again = loaded.evaluate(DATA)
    assert again.table[0]["test_elbo"] == study.table[0]["test_elbo"]


def test_fewer_updates_than_are_done_are_refused_as_on_the_command_line(study):
    refused(lambda: study.fit(DATA, 1, eval_every=1), "num_steps=1: the study already holds 2")


def test_scores_are_those_of_the_model_that_was_trained(study):
    own, hparams, state = study.spec, study.hparams, study.state
    wider = dataclasses.replace(own.model, network=vae_jax.MLP((6,)))
    calls = {
        "state=NoneType: is no TrainState": (own, hparams, None, DATA),
        "state=Study: is no TrainState": (own, hparams, study, DATA),
        "hparams=NoneType: is no HParams": (own, None, state, DATA),
        "spec=NoneType: is no TrainSpec": (None, hparams, state, DATA),
        "data=NoneType: is no Dataset": (own, hparams, state, None),
        "state=that of one run": (own, hparams, vae_jax.take(state, 0), DATA),
        "state=weights with decoder": (
            *(dataclasses.replace(own, model=wider), hparams, state, DATA),
        ),
    }
    for words, arguments in calls.items():
        refused(lambda a=arguments: vae_jax.score(*a), words)
    refused(lambda: vae_jax.score(own, hparams, state, DATA, layout=3), "layout=int: is no Layout")


X = PIXELS[:2]
ASKED = {
    "no z": (lambda run: run.generate(np.ones((0, 3))), "z=array of shape (0, 3): holds no"),
    "NaN": (lambda run: run.generate(np.full((2, 3), np.nan)), "z=numbers from nan to nan"),
    "infinity": (lambda run: run.decode(np.full((2, 3), np.inf)), "z=numbers from inf to inf"),
    "beyond float32": (lambda run: run.decode(np.full((2, 3), 1e300)), "not finite"),
    "complex": (lambda run: run.decode(np.ones((2, 3), complex)), "z=array of complex128"),
    "texts": (lambda run: run.decode(["a", "b", "c"]), "z=array of <U1"),
    "ragged": (lambda run: run.decode([[1.0], [1.0, 2.0]]), "z=list: has parts of different"),
    "no x": (lambda run: run.encode(X[:0]), "x=array of shape (0, 4, 4, 1): holds no example"),
    "no x of a bound": (lambda run: run.elbo(X[:0], KEY), "holds no example"),
    "a seed": (lambda run: run.sample(0, 3), "key=int: is no key; give"),
    "no key": (lambda run: run.elbo(X, None), "key=NoneType: is no key"),
    "two keys": (lambda run: run.sample(jax.random.split(KEY), 3), "are several keys"),
    "other ends": (lambda run: run.interpolate(PIXELS[:2], PIXELS[:3]), "x1=(3,) examples"),
    "a word": (lambda run: run.interpolate(X[0], X[1], is_spherical="no"), "is_spherical=no"),
    "a truth value": (lambda run: run.traverse(X[0], [True]), "latents=[True]: the run has"),
    "a float": (lambda run: run.traverse(X[0], [1.0]), "leave out 1.0"),
    "one latent": (lambda run: run.traverse(X[0], 1), "latents=1: the run has the latents 0 to 2"),
    "one value": (lambda run: run.traverse(X[0], [0], 1.0), "values=1.0: no values"),
    "a text": (lambda run: run.traverse(X[0], [0], "12"), "values=12: no values"),
    "a table": (lambda run: run.traverse(X[0], [0], [[1.0]]), "values=[[1.0]]: no values"),
    "an array as data": (lambda run: run.inputs(PIXELS), "data=ndarray: is no Dataset"),
    "labels of data": (lambda run: run.codes(DATA, y=LABELS[:10]), "y=labels: those of the data"),
}


@pytest.mark.parametrize(("ask", "words"), ASKED.values(), ids=ASKED.keys())
def test_a_run_that_is_asked_with_odd_values_answers_in_one_line(study, ask, words):
    refused(lambda: ask(study[0]), words.replace("is no key;", "is no key of random numbers;"))


PLOTTED = {
    "no number": (lambda plot: plot.samples("3"), "num=3: must be"),
    "one latent": (lambda plot: plot.traversals(latents=1), "latents=1: the run"),
    "labels without x": (lambda plot: plot.reconstructions(y=[1, 2]), "y=labels: those of the"),
    "fewer labels": (lambda plot: plot.reconstructions(x=X, y=[0, 1, 2]), "y=array of int64"),
    "fewer labels on paths": (lambda plot: plot.interpolations(x=X, y=[0, 1, 2]), "y=array of"),
}


@pytest.mark.parametrize(("ask", "words"), PLOTTED.values(), ids=PLOTTED.keys())
def test_a_figure_of_odd_values_is_refused(conditional, ask, words):
    refused(lambda: ask(conditional.plot), words)


def test_a_figure_over_one_setting_twice_is_refused(study):
    refused(lambda: study.plot.heat("beta", "beta"), "heat=beta: is named twice")
    refused(lambda: study.plot.rate_distortion(by="beta"), "rate_distortion=beta: is named twice")


def test_rows_of_images_are_of_a_known_range():
    refused(lambda: vae_jax.show_images([X]), "rows=list: is no Mapping")
    refused(lambda: vae_jax.show_images({"a": X.astype(int)}), "rows['a']=array of int64")
    refused(lambda: vae_jax.show_images({"a": X.astype(complex)}), "array of complex128")


@pytest.mark.parametrize("name", ["num_steps", "eval_every", "checkpoint_every", "chunk_steps"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "1", None])
def test_an_interval_is_a_number_of_updates(name, value):
    refused(lambda: vae_jax.Intervals(**{"num_steps": 4} | {name: value}), f"{name}={value}: must")


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    ("setting", "value"),
    [("num_steps", 2.5), ("num_steps", -1), ("skips", 3), ("is_clipped", "no")],
)
def test_an_optimizer_of_odd_switches_is_refused(name, setting, value):
    optimizer = OPTIMIZERS[name](**{setting: value})
    refused(lambda: spec(optimizer=optimizer), f"{setting}={value}: must be")


@pytest.mark.parametrize("dtype", ["float99", 5, np.float32])
def test_a_network_of_an_unknown_precision_is_refused(dtype):
    network = vae_jax.MLP((5,), dtype=dtype)
    refused(lambda: vae_jax.VAE((4, 4, 1), 2, network), "dtype=", "must be one of float32")


def _writers(study):
    """Return what writes a file, by name, each with a file name that suits it."""
    run = study[0]
    return {
        "weights": run.save,
        "function": lambda path: run.export(path, "decode"),
        "report": study.plot.report,
        "explorer": study.plot.explorer,
    }


@pytest.mark.parametrize("name", ["weights", "function", "report", "explorer"])
def test_a_file_of_others_is_neither_replaced_nor_followed(study, tmp_path, name):
    write = _writers(study)[name]
    mine, link, folder = tmp_path / "thesis.tex", tmp_path / "link", tmp_path / "folder"
    mine.write_text("thesis")
    link.symlink_to(mine)
    folder.mkdir()
    for path, words in (
        (mine, "is a file that vae_jax did not write; give another name"),
        (link, "is a link"),
        (folder, "is a folder"),
        (tmp_path / ("a" * 300), "cannot be written"),
        (mine / "below", "cannot be written"),
    ):
        refused(lambda p=path: write(p), f"path={path}: {words}")
    for path in (None, 5, "", b"x"):
        refused(lambda p=path: write(p), "is no path")
    assert (mine.read_text(), link.readlink(), list(folder.iterdir())) == ("thesis", mine, [])
    assert write(tmp_path / "own") == write(str(tmp_path / "own")) == tmp_path / "own"
    others = {other: each for other, each in _writers(study).items() if other != name}
    for other, each in others.items():
        if {name, other} != {"report", "explorer"}:
            refused(lambda w=each: w(tmp_path / "own"), "is a file that vae_jax did not write")


@pytest.mark.parametrize("path", [None, 5, "", b"x", "a\nb", "a" * 300])
def test_a_study_is_neither_saved_to_nor_opened_from_what_is_no_path(study, tmp_path, path):
    given = str(tmp_path / path) if isinstance(path, str) and path else path
    refused(lambda: study.save(given), "workdir=")
    refused(lambda: vae_jax.load_run(given), "workdir=")


def test_a_folder_of_others_is_no_workdir_and_needs_no_restart(tmp_path):
    (tmp_path / "results.csv").write_text("my,own")
    refused(lambda: vae_jax.load_run(tmp_path), f"workdir={tmp_path}: holds no runs")


def test_a_lost_workdir_is_told_of_in_the_words_of_python(study, tmp_path):
    folder = study.save(tmp_path / "study")
    for path in folder.glob("checkpoints/**/*.json"):
        path.write_text("{}")
    with pytest.raises(InputError) as caught:
        vae_jax.load_run(folder)
    assert "--" not in str(caught.value)
    assert "restore it from a copy" in str(caught.value)


def test_a_figure_that_fails_costs_the_report_of_python_that_figure(study, tmp_path, monkeypatch):
    def crash(*_, **__):
        raise RuntimeError("simulated")

    monkeypatch.setattr(plots, "samples", crash)
    monkeypatch.setattr("vae_jax.reporting.figures._tiles", crash)
    with pytest.warns(UserWarning, match="is missing") as told:
        path = study.plot.report(tmp_path / "report.html")
    messages = sorted(str(each.message) for each in told)
    assert [text.partition(" is missing (RuntimeError")[0] for text in messages] == [
        "figure samples",
        "pictures of run 0",
        "pictures of run 1",
    ]
    page = path.read_text(encoding="utf-8")
    assert "figure samples is missing" in page
    assert "Reconstructions" in page
