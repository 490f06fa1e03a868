"""The order of the rooms: a module imports only modules above it, and each library has its room."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vae_jax

PACKAGE = Path(vae_jax.__file__).parent

PURE = [
    *("jax_versions", "types", "keys", "hparams", "latents", "softbound"),
    *("posteriors.base", "posteriors.gaussian", "posteriors.delta", "posteriors.full_gaussian"),
    *("posteriors.flows", "posteriors.iaf", "posteriors.planar", "posteriors.conditional"),
    *("posteriors.stacked", "posteriors"),
    *("priors.base", "priors.normal", "priors.mixture", "priors.vamp", "priors.flow"),
    *("priors.class_normal", "priors.stacked", "priors"),
    *("likelihoods.base", "likelihoods.bernoulli", "likelihoods.inversion"),
    *("likelihoods.continuous_bernoulli", "likelihoods.scales", "likelihoods.location_scale"),
    *("likelihoods.gaussian", "likelihoods.laplace", "likelihoods.eight_bit"),
    *("likelihoods.discretized_logistic", "likelihoods.categorical", "likelihoods"),
    *("networks.layers", "networks.mlp", "networks.conv", "networks.resnet"),
    *("networks.discriminator", "networks"),
    *("model", "estimators", "objectives"),
    *("regularizers.base", "regularizers.total_correlation", "regularizers.dip"),
    *("regularizers.mmd", "regularizers.factor", "regularizers"),
    *("optimizers", "batches", "parallel", "train"),
    *("columns", "metrics.evidence", "evaluate", "sweep"),
    *("metrics.hmc", "metrics.ais", "metrics.gaps", "metrics.decomposition"),
]
HOST = [
    *("errors", "libraries", "clock", "compilation", "signals", "hosts", "records", "seals"),
    *("owner", "table", "page"),
    *("data.dataset", "data.cache", "data.mapped", "data.arrays", "data.places", "data.files"),
    *("data.folders", "data.packaged", "data.sprites", "data.download", "data.catalog"),
    *("data.sources", "data"),
    *(
        "metrics.cores",
        "metrics.estimates",
        "metrics.codes",
        "metrics.information",
        "metrics.importance",
    ),
    *("metrics.separation", "metrics.intervention", "metrics.disentanglement"),
    *("metrics.representation", "metrics.samples", "metrics.features", "metrics"),
    *("plots.style", "plots.mosaic", "plots.terms", "plots.curves", "plots.heat"),
    "plots.bounds",
    "plots.codes",
    *("plots.run", "plots.study", "plots"),
    *("visits", "capacity", "feed", "scoring", "loop", "checkpoint", "logs"),
    *("findings", "verdicts", "report"),
    *("assessments.base", "assessments.nll", "assessments.decomposition"),
    *("assessments.annealing", "assessments.gaps"),
    *("assessments.disentanglement", "assessments.representation", "assessments.samples"),
    *("assessments", "kinds", "config", "combinations", "study", "arguments", "build"),
    *(
        "groups",
        "figures",
        "results",
        "ablation",
        "workdir",
        "resume",
        "diagnosis",
        "trainer",
        "assessor",
    ),
    *("job", "cli", "__main__"),
]
ROOMS = [*PURE, *HOST, ""]
"""From the ground up; the last is the package itself, the public names."""

OWNERS = {
    "flax": {"networks"},
    "optax": {"optimizers", "train", "metrics"},
    "tensorflow_datasets": {"data"},
    "requests": {"data"},
    "PIL": {"data"},
    "orbax": {"checkpoint"},
    "absl": {"arguments"},
    "sklearn": {"metrics"},
    "matplotlib": {"plots"},
    "rich": {"logs"},
    "tensorboardX": {"logs"},
}


def _room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts).removesuffix("__init__").removesuffix(".")


SOURCES = {_room_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _imports(room: str) -> Iterator[str]:
    """Dotted names of what a module imports, also inside functions."""
    for node in ast.walk(ast.parse(SOURCES[room].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{room}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imported_rooms(room: str) -> Iterator[str]:
    """The longest room in the name: ``vae_jax.data.load`` is the room ``data``."""
    for name in _imports(room):
        inside, _, rest = name.partition(".")
        while inside == "vae_jax" and rest not in SOURCES:
            rest = rest.rpartition(".")[0]
        if inside == "vae_jax":
            yield rest


def _libraries(room: str) -> set[str]:
    names = {name.partition(".")[0] for name in _imports(room)}
    return names - set(sys.stdlib_module_names) - {"vae_jax"}


def test_every_module_has_its_place_in_the_order():
    assert sorted(SOURCES) == sorted(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_above_it(room):
    above = set(ROOMS[: ROOMS.index(room)])
    assert set(_imported_rooms(room)) <= above


@pytest.mark.parametrize("room", PURE)
def test_the_upper_half_knows_jax_and_nothing_of_the_host(room):
    assert _libraries(room) <= {"jax", "flax", "optax", "jaxtyping", "numpy"}


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_imported_only_in_its_rooms(library):
    users = {room.partition(".")[0] for room in SOURCES if library in _libraries(room)}
    assert users == OWNERS[library]


@pytest.mark.parametrize(
    ("words", "rooms"),
    [
        (r"lax\.map\(", {"sweep"}),
        (r"\bdef over_runs\(", {"sweep"}),
        (r"shard_map\(|make_mesh\(|jax\.sharding", {"parallel"}),
        (r"compilation_cache_dir", {"compilation"}),
        (r"jax\.grad\(|value_and_grad\(", {"train", "metrics.gaps"}),
        (r"hparams\.beta", {"objectives"}),
    ],
)
def test_an_idea_lives_in_one_room(words, rooms):
    found = {room for room, path in SOURCES.items() if re.search(words, path.read_text("utf-8"))}
    assert found == rooms


def test_there_is_no_room_for_odds_and_ends():
    names = {room.rpartition(".")[2] for room in SOURCES}
    assert not names & {"utils", "util", "helpers", "common", "misc"}
