"""The explorer in a browser, from disk, without a network: it draws what the model says."""

import json
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import browser
from tests.reporting import explored
from vae_jax.models.likelihoods import LIKELIHOODS, GaussianLikelihood, StudentTLikelihood
from vae_jax.models.networks import ACTIVATIONS
from vae_jax.models.posteriors import FSQ, VonMisesFisherFamily
from vae_jax.models.priors import ClassPrior, FlowPrior, MixturePrior, UniformGrid, UniformSphere
from vae_jax.reporting.explorer import distributions

pytestmark = browser.needs_chromium

FRAME = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
SEEDED = """(() => { let a = 1; uniform = () => { a = (a + 0x6d2b79f5) | 0;
  let t = Math.imul(a ^ (a >>> 15), 1 | a); t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296; }; })()"""  # mulberry32


@pytest.fixture(scope="module")
def tab() -> Iterator[browser.Page]:
    with browser.opened() as page:
        yield page


@pytest.fixture
def page(tab) -> Iterator[browser.Page]:
    tab.errors.clear()
    tab.requests.clear()
    tab.resize(1200, 900)
    yield tab
    assert tab.errors == []
    assert all(address.startswith("file:") for address in tab.requests)


@pytest.fixture(scope="module")
def models() -> dict:
    return {name: explored.trained(network) for name, network in explored.NETWORKS.items()}


@pytest.fixture(scope="module")
def path(models, tmp_path_factory):
    results, runs = explored.study(models)
    return explored.write(tmp_path_factory.mktemp("page") / "explorer.html", results, runs)


def _z(page) -> np.ndarray:
    page.evaluate(FRAME)
    return np.array(page.evaluate("[...state.z]"), np.float32)


def _canvas(page, name="left-picture", shape=explored.SHAPE) -> np.ndarray:
    """Return the pixels of a canvas, from 0 to 1."""
    page.evaluate(FRAME)
    get = f"(() => {{ const c = document.getElementById('{name}');"
    get += "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; })()"
    pixels = np.array(page.evaluate(get), float).reshape(*shape[:2], 4)
    return pixels[..., : shape[-1]] / 255


def _shows_decode_of_z(page, model, name="left-picture") -> bool:
    mean = np.asarray(model.generate(_z(page)))
    return float(np.abs(_canvas(page, name) - mean).max()) < 0.01


def _choose(page, selector: str, value: str) -> None:
    page.evaluate(
        f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
        f"e.value = {json.dumps(value)};"
        "e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')); })()"
    )


def test_every_decoder_draws_what_the_model_decodes_wherever_z_is_moved(page, path, models):
    page.open(path)
    for run, model in enumerate(models.values()):
        page.click(f"#heat [data-run='{run}']")
        assert page.evaluate("state.left.run") == run
        assert _shows_decode_of_z(page, model)

        before = _z(page)
        page.evaluate("document.querySelector('.slider input').focus()")
        for _ in range(5):
            page.press("ArrowRight")
        assert (_z(page) != before).tolist() == [False, False, True]  # the largest KL comes first
        assert _shows_decode_of_z(page, model)

        page.click("#sample")
        assert (_z(page) != before).all()
        assert _shows_decode_of_z(page, model)


def test_a_click_on_a_point_shows_its_example_and_its_reconstruction(page, path, models):
    page.open(path)
    page.place_of("#pad")
    x, y = page.evaluate(
        "(() => { const b = element('pad').getBoundingClientRect();"
        "const s = b.width / pad.canvas.width; "
        "const [x, y] = pad.placeOfPoint(7); return [b.left + s * x, b.top + s * y]; })()"
    )
    page.click((x, y))
    found = page.evaluate("state.example")
    data, model = explored.data(), models["mlp"]
    code = np.asarray(model.encode(data.test[found]).center)[:3]
    np.testing.assert_allclose(_z(page), code, atol=2e-3)
    np.testing.assert_allclose(_canvas(page, "example-picture"), data.test[found] / 255, atol=1e-6)
    assert _shows_decode_of_z(page, model)
    page.drag((x, y), (x + 2, y - 2))  # a finger trembles
    np.testing.assert_allclose(_z(page), code, atol=2e-3)
    page.drag((x, y), (x + 40, y - 30))
    moved = _z(page) - code
    first, second = page.evaluate("state.axes")
    assert moved[first] > 0.1
    assert moved[second] > 0.1
    page.press("PageDown")
    assert page.evaluate("state.example") == found - 1


def test_two_runs_stand_beside_each_other_with_the_same_z(page, path, models):
    page.open(path)
    _choose(page, "#side", "right")
    page.click("#heat [data-run='2']")
    assert page.evaluate("[state.left.run, state.right.run]") == [0, 2]
    page.click("#sample")
    assert _shows_decode_of_z(page, models["mlp"])
    assert _shows_decode_of_z(page, models["resnet"], "right-picture")
    page.click("#one-run")
    assert page.evaluate("element('right').hidden")


def test_a_cell_is_the_best_of_its_seeds_until_one_is_chosen(page, models, tmp_path):
    results, runs = explored.study(dict.fromkeys(("a", "b"), models["mlp"]), seeds=2)
    results["swept"] = ["seed", "network"]
    results["runs"][3]["test_elbo"] = -50.0  # network b, seed 1
    page.open(explored.write(tmp_path / "page.html", results, runs))
    shown = "[...document.querySelectorAll('#heat button')].map((b) => Number(b.dataset.run))"
    assert page.evaluate(shown) == [0, 2, 1, 3]  # the seed goes down
    _choose(page, "#down", "network")
    assert page.evaluate(shown) == [0, 3]
    _choose(page, "#held select", "0")
    assert page.evaluate(shown) == [0, 2]


def test_ways_and_arithmetic_are_those_of_the_codes(page, path, models):
    page.open(path)
    codes = np.asarray(models["mlp"].encode(explored.data().test[:30]).center)[:, :3]
    for slot, example in zip("abc", (4, 11, 20), strict=True):
        _choose(page, "#example", str(example))
        page.click(f"#set-{slot}")
    a, b, c = codes[[4, 11, 20]]
    page.click("#arithmetic")
    np.testing.assert_allclose(_z(page), a - b + c, atol=5e-3)
    _choose(page, "#share", "0.25")
    np.testing.assert_allclose(_z(page), 0.75 * a + 0.25 * b, atol=5e-3)
    _choose(page, "#way", "spherical")
    lengths = np.linalg.norm([a, b], axis=1)
    assert np.linalg.norm(_z(page)) == pytest.approx(lengths @ [0.75, 0.25], abs=5e-3)
    assert _shows_decode_of_z(page, models["mlp"])


def test_texts_of_the_data_are_shown_and_not_run_and_a_phone_has_room(page, path):
    page.open(path)
    assert (
        page.evaluate("element('title').textContent") == f"a {explored.HOSTILE}: the latent space"
    )
    assert explored.HOSTILE in page.evaluate("element('legend').textContent")
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    page.resize(390, 844, is_phone=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_everything_that_is_used_can_be_reached_by_keyboard(page, path):
    page.open(path)
    page.evaluate("document.body.focus()")
    reached = set()
    for _ in range(80):
        page.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.dataset.run")
        )
    wanted = {"term", "across", "down", "side", "how", "zero", "x-latent", "y-latent", "example"}
    wanted |= {"pad", "sample", "temperature", "share", "way", "arithmetic", "set-a", "0", "1", "2"}
    assert wanted <= reached


def test_a_conditional_run_follows_the_class(page, tmp_path):
    model = explored.trained(num_classes=3, prior=ClassPrior())
    page.open(explored.write_run(tmp_path / "page.html", model))
    _choose(page, "#example", "4")
    assert page.evaluate("state.label") == 1
    for label in (0, 2):
        _choose(page, "#class", str(label))
        page.click("#sample")
        mean = np.asarray(model.generate(_z(page), label))
        assert np.abs(_canvas(page) - mean).max() < 0.01


@pytest.mark.parametrize(
    "families",
    [
        {"posterior": VonMisesFisherFamily(), "prior": UniformSphere()},
        {"posterior": FSQ(3), "prior": UniformGrid(3)},
    ],
    ids=["sphere", "grid"],
)
def test_z_stays_where_the_codes_of_a_run_may_lie(page, tmp_path, families):
    page.open(explored.write_run(tmp_path / "page.html", explored.trained(**families)))
    seen = []
    for act in ("sample", "arithmetic", "sample"):
        page.click(f"#{act}")
        seen.append(_z(page))
    if "grid" in str(families).lower():
        assert set(np.ravel(seen).tolist()) <= {-1.0, 0.0, 1.0}
    else:
        np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1.0, rtol=1e-5)


def test_vectors_are_drawn_as_bars(page, tmp_path):
    shape, likelihood = (6,), GaussianLikelihood("per_pixel")
    model = explored.trained(shape=shape, likelihood=likelihood)
    data = explored.data(shape, encoding="reals")
    page.open(explored.write_run(tmp_path / "page.html", model, data))
    z = _z(page)
    low, high = float(data.test.min()), float(data.test.max())
    heights = (np.asarray(model.generate(z)) - low) / (high - low)
    pixels = _canvas(page, shape=(140, 252, 3))
    blue = (pixels[..., 2] - pixels[..., 0]) > 0.2
    middles = blue[:, 21::42].sum(axis=0) / 140
    foot = min(max(-low / (high - low), 0.0), 1.0)
    np.testing.assert_allclose(middles, np.abs(np.clip(heights, 0, 1) - foot), atol=0.03)


def _families() -> dict:
    families = {name: LIKELIHOODS[name]() for name in distributions._LIKELIHOODS}
    return families | {
        "gaussian per pixel": GaussianLikelihood("per_pixel"),
        "student_t": StudentTLikelihood(),
        "three logistics": LIKELIHOODS["discretized_logistic"](num_logistics=3),
    }


@pytest.mark.parametrize("name", _families())
def test_means_and_draws_of_a_likelihood_are_those_of_the_model(page, path, name):
    if page.evaluate("location.protocol") != "file:":
        page.open(path)
    page.evaluate(SEEDED)
    run = explored.trained(likelihood=_families()[name], shape=(1, 3, 1))
    facts, num = distributions.likelihood(run), run.model.likelihood.num_outputs
    outputs = np.random.default_rng(0).normal(size=(3, num)).astype(np.float32)
    arguments = (
        run.hparams,
        run.params.get("likelihood", {}),
        jnp.asarray(outputs.reshape(1, 1, 3, 1, num)),
    )
    p = run.model.likelihood(*arguments)
    call = f"(how, n) => {{ const p = {json.dumps(facts)};"
    call += f"const o = Float32Array.from({outputs.ravel().tolist()});"
    call += f"const of = (d) => LIKELIHOODS[p.kind][how](p, o, d * {num});"
    call += "return [0, 1, 2].map((d) => Array.from({length: n}, () => of(d))); }"
    means = np.array(page.evaluate(f"({call})('mean', 1)")).ravel()
    np.testing.assert_allclose(means, np.asarray(p.mean()).ravel(), rtol=1e-4, atol=1e-5)
    drawn = np.array(page.evaluate(f"({call})('draw', 3000)"))
    keys = jax.random.split(jax.random.key(1), 3000)
    own = np.asarray(jax.vmap(p.sample)(keys)).reshape(3000, 3).T
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):  # heavy tails have no variance to compare
        there = (drawn <= np.quantile(own, share, axis=1)[:, None] + 1e-6).mean(axis=1)
        here = (own <= np.quantile(own, share, axis=1)[:, None] + 1e-6).mean(axis=1)
        assert np.abs(there - here).max() < 5 * np.sqrt(2 * 0.25 / 3000)


@pytest.mark.parametrize("prior", [MixturePrior(3), FlowPrior(4, 8)], ids=["mixture", "flow"])
def test_draws_of_a_prior_are_those_of_the_model(page, path, prior):
    if page.evaluate("location.protocol") != "file:":
        page.open(path)
    page.evaluate(SEEDED)
    run = explored.trained(prior=prior, latents=3)
    if isinstance(prior, MixturePrior):  # a scale far from one
        run.params["prior"]["log_vars"] -= 2.0
    facts = {"latents": 3, "prior": distributions.prior(run), "layers": [], "support": "reals"}
    empty = {"shape": [0], "type": "float32", "data": ""}
    made = f"readRun({json.dumps(facts | {'bias': empty, 'codes': empty})})"
    p, noise = run.model.prior_at(run.hparams, run.params), [0.3, -1.2, 0.8]
    if isinstance(prior, FlowPrior):
        z = page.evaluate(f"[...PRIORS.flow({made}, Float64Array.from({noise}))]")
        wide = jnp.zeros((1, run.model.width)).at[0, :3].set(jnp.array(noise))
        np.testing.assert_allclose(
            z, np.asarray(p.sample(jax.random.key(0), wide))[0, :3], rtol=0.01, atol=0.01
        )
        return
    draw = f"(() => {{ const r = {made}; const one = () => [...samplePrior(r, 0, 1)];"
    draw += "return Array.from({length: 4000}, one); })()"
    drawn = np.array(page.evaluate(draw))
    key = jax.random.key(0)
    own = np.asarray(run.model.sample_prior(run.hparams, run.params, key, 4000))[:, :3]
    for moment in (lambda z: z, lambda z: z**2, lambda z: z[:, :1] * z[:, 1:]):
        a, b = moment(drawn), moment(own)
        error = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
        assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 5 * error).all()


def test_activations_are_those_of_the_networks(page, path):
    page.open(path)
    x = [-30.0, -2.0, -0.3, 0.0, 0.3, 2.0, 30.0]
    for name, of in ACTIVATIONS.items():
        found = page.evaluate(f"{x}.map(ACTIVATIONS.{name})")
        np.testing.assert_allclose(found, of(jnp.array(x)), rtol=1e-5, atol=1e-6, err_msg=name)
    assert set(page.evaluate("Object.keys(ACTIVATIONS)")) == set(ACTIVATIONS)
