"""Trial of members from outside: one update with abstract arrays, before anything is compiled.

What the base classes of members promise of shapes is looked at here, where one line can name the
member that breaks it. Nothing is computed and no memory is taken (:func:`jax.eval_shape`).
"""

import contextlib
import inspect
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax import contract
from vae_jax.hparams import HParams
from vae_jax.models.combinations import has_closed_form_kl
from vae_jax.models.networks import Decoder
from vae_jax.models.networks.base import Module
from vae_jax.models.posteriors import Head
from vae_jax.models.priors import KL
from vae_jax.objectives import ObjectiveOutput
from vae_jax.objectives.base import PosteriorSamples
from vae_jax.objectives.regularizers import Context
from vae_jax.runtime.errors import InputError
from vae_jax.settings import check_value, whole
from vae_jax.training.optimizers import Transformation
from vae_jax.training.spec import TrainSpec
from vae_jax.types import Params, default_float

_PACKAGE = __name__.partition(".")[0]


def check_members(spec: TrainSpec, encoding: str, num_examples: int) -> None:
    """Refuse a member from outside that fails or gives other shapes than its base class says.

    Args:
        spec: model and training; where all of its members are shipped, nothing is done.
        encoding: encoding of the data.
        num_examples: examples of the training set.

    Raises:
        InputError: naming the member, its method, and what is wrong with what it returns.

    Example:
        >>> import vae_jax
        >>> check_members(vae_jax.TrainSpec(vae_jax.VAE((4, 4, 1), 2)), "pixels", 100)
    """
    trial = _Trial(spec, encoding, num_examples)
    if trial.outside:
        jax.eval_shape(trial.update)


def is_from_outside(member: object) -> bool:
    """Return whether a member is none of the package."""
    return type(member).__module__.partition(".")[0] != _PACKAGE


class _Trial:
    """Update of one run, part by part."""

    def __init__(self, spec: TrainSpec, encoding: str, num_examples: int) -> None:
        self.spec, self.encoding, self.num_examples = spec, encoding, num_examples
        model = spec.model
        members = [
            *(("network", model.network), ("likelihood", model.likelihood)),
            *(("posterior", model.posterior), ("prior", model.prior)),
            *(("objective", spec.objective), ("optimizer", spec.optimizer)),
            *(("regularizer", each) for each in spec.regularizers),
        ]
        self.outside = [(kind, own) for kind, own in members if is_from_outside(own)]

    def update(self) -> None:
        """Go through one update in the order of its computation."""
        model = self.spec.model
        hparams = HParams.of(self.spec, latent_size=model.max_latents)
        params = self._params(hparams)
        labels = jnp.zeros(self._batch, jnp.int32) if model.num_classes else None
        x = jnp.zeros((self._batch, *model.event_shape), default_float())
        noise = self._noise()
        with self._asked("network", model.network, "encoder_body"):
            heads = model.heads(params, x, labels)
        q, z = self._posterior(hparams, params, heads, noise)
        self._prior(hparams, params, q, z, labels)
        self._likelihood(hparams, params, x, z, labels)
        samples = self._objective(hparams, params, x, noise, labels)
        self._penalties(hparams, params, samples)
        self._own_updates(hparams, params, samples, x)
        self._optimizer(hparams, params)

    @property
    def _batch(self) -> int:
        return self.spec.batch_size

    @property
    def _particles(self) -> int:
        return self.spec.objective.num_draws

    def _params(self, hparams: HParams) -> Params:
        """Return the initial parameters."""
        model, mean = self.spec.model, jnp.zeros(self.spec.model.event_shape, default_float())
        with self._asked("likelihood", model.likelihood, "initial_bias") as name:
            self._counted(name, "num_outputs", model.likelihood.num_outputs)
            bias = model.likelihood.initial_bias(mean)
            self._shaped(name, bias, (*model.event_shape, model.likelihood.num_outputs))
        with self._asked("posterior", model.posterior, "heads") as name:
            heads = model.posterior.heads(model.decoder_width)
            if not isinstance(heads, tuple) or not all(isinstance(each, Head) for each in heads):
                raise InputError(f"{name} returns {heads!r}; return a tuple of Head")
        with self._asked("network", model.network, "encoder_body") as name:
            self._made(name, model.network.encoder_body(), Module)
        with self._asked("network", model.network, "decoder") as name:
            shape = (*model.event_shape[:-1], model.event_shape[-1] * model.likelihood.num_outputs)
            self._made(name, model.network.decoder(shape), Decoder)
        with self._asked("network", model.network, "init"):
            count = max(1, model.prior.num_examples)
            examples = jnp.zeros((count, *model.event_shape), default_float())
            params = model.init(hparams, mean, examples, self.encoding)
        for kind in ("posterior", "prior", "likelihood"):
            for path, leaf in jax.tree.leaves_with_path(params.get(kind, {})):
                if not jnp.issubdtype(leaf.dtype, jnp.floating):
                    label = self._label(kind, getattr(model, kind))
                    named = jax.tree_util.keystr(path, simple=True, separator="/")
                    raise InputError(
                        f"{label}: init gives {named} as {leaf.dtype}, but gradients are taken of "
                        "all parameters; give floats"
                    )
        return params

    def _noise(self) -> jax.Array:
        model, draws = self.spec.model, (self._particles, self._batch)
        with self._asked("objective", self.spec.objective, "num_draws") as name:
            self._counted(name, "num_draws", self._particles)
        with self._asked("posterior", model.posterior, "noise") as name:
            noise = model.noise(jax.random.key(0), *draws)
            is_own = model.posterior.has_own_noise
            size = noise.shape[-1] if is_own and noise.ndim else model.width
            self._shaped(name, noise, (*draws, size))
        return noise

    def _posterior(
        self, hparams: HParams, params: Params, heads: dict[str, jax.Array], noise: jax.Array
    ) -> tuple[Any, jax.Array]:
        model, draws = self.spec.model, (self._particles, self._batch)
        family = model.posterior
        with self._asked("posterior", family, "__call__") as name:
            q = model.posterior_at(hparams, params, heads)
            if not isinstance(q, family.distribution):
                made, said = type(q).__name__, family.distribution.__name__
                raise InputError(
                    f"{name} returns a {made}, and distribution is {said}; name {made}"
                )
        with self._asked("posterior", family, "center") as name:
            self._shaped(name, q.center, (self._batch, model.width))
        with self._asked("posterior", family, "sample") as name:
            self._shaped(name, q.sample(noise), (*draws, model.width))
        with self._asked("posterior", family, "draw") as name:
            z, log_prob = q.draw(noise)
            self._shaped(_part("z", name), z, (*draws, model.width))
            self._shaped(_part("log_prob", name), log_prob, draws)
        if family.has_density and family.is_reparameterized:
            with self._asked("posterior", family, "path_log_prob") as name:
                self._shaped(name, q.path_log_prob(z, noise), draws)
        return q, z

    def _prior(self, hparams: HParams, params: Params, q: Any, z: jax.Array, labels: Any) -> None:
        model, family = self.spec.model, self.spec.model.prior
        with self._asked("prior", family, "__call__"):
            p = model.prior_at(hparams, params, labels)
        with self._asked("prior", family, "log_prob") as name:
            self._shaped(name, p.log_prob(z), z.shape[:-1])
        with self._asked("prior", family, "sample") as name:
            noise = model.standard_noise(jax.random.key(0), self._batch)
            self._shaped(name, p.sample(jax.random.key(1), noise), (self._batch, model.width))
        with self._asked("prior", family, "kl") as name:
            kl, is_declared = p.kl(q), has_closed_form_kl(model.posterior, family)
            if model.posterior.has_density and (kl is not None) != is_declared:
                how = "returns one" if kl is not None else "returns None"
                raise InputError(
                    f"{name} {how} for a {type(q).__name__}, and closed_form_kl of the prior with "
                    f"distribution={model.posterior.distribution.__name__} of the posterior says "
                    "otherwise; declare what is true"
                )
            if kl is not None:
                self._made(name, kl, KL)
                self._shaped(_part("total", name), kl.total, (self._batch,))
                if kl.per_latent is not None:
                    shape = (self._batch, model.width)
                    self._shaped(_part("per_latent", name), kl.per_latent, shape)

    def _likelihood(
        self, hparams: HParams, params: Params, x: jax.Array, z: jax.Array, labels: Any
    ) -> None:
        model, draws = self.spec.model, z.shape[:-1]
        family = model.likelihood
        first = ("network", model.network)
        with self._asked(*(first if first in self.outside else ("likelihood", family)), "__call__"):
            p = model.decode(hparams, params, z, labels)
        many = jnp.broadcast_to(x, (*draws, *model.event_shape))
        with self._asked("likelihood", family, "log_prob") as name:
            self._shaped(name, p.log_prob(many), draws)
        with self._asked("likelihood", family, "mean") as name:
            self._shaped(name, p.mean(), many.shape)
        with self._asked("likelihood", family, "sample") as name:
            self._shaped(name, p.sample(jax.random.key(0)), many.shape)
        with self._asked("likelihood", family, "with_optimal_scale") as name:
            self._shaped(name, family.with_optimal_scale(p, many).log_prob(many), draws)

    def _objective(
        self, hparams: HParams, params: Params, x: jax.Array, noise: jax.Array, labels: Any
    ) -> PosteriorSamples:
        objective, step = self.spec.objective, jnp.zeros((), jnp.int32)
        with self._asked("objective", objective, "__call__") as name:
            value = objective(self.spec.model, hparams, params, x, noise, step, labels)
            self._made(name, value, ObjectiveOutput)
            self._shaped(_part("objective", name), value.objective, (self._batch,))
            for term in value.terms._fields:
                own = getattr(value.terms, term)
                self._shaped(_part(term, name), own, (self._batch,))
        return value.samples

    def _penalties(self, hparams: HParams, params: Params, samples: PosteriorSamples) -> None:
        model = self.spec.model
        context = Context(model.latent_mask(hparams), self.num_examples, jax.random.key(0))
        for penalty in self.spec.regularizers:
            with self._asked("regularizer", penalty, "init"):
                learned = penalty.init(jax.random.key(0), context.latent_mask)
            with self._asked("regularizer", penalty, "__call__") as name:
                self._shaped(name, penalty(hparams, learned, samples, context), ())

    def _own_updates(
        self, hparams: HParams, params: Params, samples: PosteriorSamples, x: jax.Array
    ) -> None:
        model = self.spec.model
        own = params.get("posterior", {})
        with self._asked("posterior", model.posterior, "loss") as name:
            loss = model.posterior.loss(hparams, own, samples.q, samples.z)
            if loss is not None:
                self._shaped(name, loss, getattr(loss, "shape", (self._batch,)))
        with self._asked("posterior", model.posterior, "update") as name:
            self._alike(name, model.posterior.update(hparams, own, samples.q, samples.z), own)
        if "likelihood" in params:
            own, step = params["likelihood"], jnp.zeros((), jnp.int32)
            many = jnp.broadcast_to(x, (*samples.z.shape[:-1], *model.event_shape))
            with self._asked("likelihood", model.likelihood, "update") as name:
                moved = model.likelihood.update(own, samples.decoder_dist, many, step)
                self._alike(name, moved, own)

    def _optimizer(self, hparams: HParams, params: Params) -> None:
        optimizer, step = self.spec.optimizer, jnp.zeros((), jnp.int32)
        with self._asked("optimizer", optimizer, "rule") as name:
            self._made(name, optimizer.rule(hparams), Transformation)
            transformation = optimizer.transformation(hparams, step)
            state = transformation.init(params)
            updates, moved = transformation.update(params, state, params)
            self._alike(_part("the step", name), updates, params)
            self._alike(_part("the state", name), moved, state)

    @contextlib.contextmanager
    def _asked(self, kind: str, member: object, method: str) -> Iterator[str]:
        """Give the name of a method for messages; name the member at fault where anything fails."""
        label = self._label(kind, member)
        try:
            yield f"{label}: {method}"
        except InputError:
            raise
        except Exception as error:
            label, path = self._at_fault(error, label, _file(member))
            raise InputError(
                f"{label}: {method} fails with {contract.reason(error, path)}"
            ) from error

    def _at_fault(self, error: Exception, label: str, own: str) -> tuple[str, str]:
        """Return the member in whose file an error arose last, and that file.

        Args:
            error: exception.
            label: label of the member that was called, which one in the same file does not replace.
            own: its file.
        """
        files = {_file(member): self._label(kind, member) for kind, member in self.outside}
        files |= {own: label}
        passed = [each.filename for each in traceback.extract_tb(error.__traceback__)]
        return next(
            ((files[path], path) for path in reversed(passed) if path in files), (label, own)
        )

    def _label(self, kind: str, member: object) -> str:
        found = type(member)
        path = f"{found.__module__}:{found.__qualname__}"
        return f"{kind}={path if is_from_outside(member) else found.__name__}"

    def _shaped(self, name: str, value: Any, shape: Sequence[int]) -> None:
        own = getattr(value, "shape", None)
        if own != tuple(shape):
            given = contract.with_article(type(value).__name__)
            what = f"has shape {own}" if own is not None else f"is {given}"
            raise InputError(f"{name} {what}; return an array of shape {tuple(shape)}")

    def _counted(self, name: str, what: str, value: Any) -> None:
        try:
            check_value(what, value, whole(1))
        except InputError as error:
            label = name.rpartition(": ")[0]
            raise InputError(f"{label}: {what} is {value!r}, and {error.problem}") from None

    def _made(self, name: str, value: Any, kind: type) -> None:
        if not isinstance(value, kind):
            given, wanted = (contract.with_article(each.__name__) for each in (type(value), kind))
            raise InputError(f"{name} returns {given}; return {wanted}")

    def _alike(self, name: str, value: Any, old: Any) -> None:
        """Refuse a tree of other names or shapes than the one that it replaces."""
        found, wanted = (
            [(jax.tree_util.keystr(path), jnp.shape(leaf)) for path, leaf in leaves]
            for leaves in map(jax.tree.leaves_with_path, (value, old))
        )
        if found != wanted:
            raise InputError(f"{name} gives {found} for {wanted}; return arrays as they were given")


def _part(part: str, name: str) -> str:
    """Return the name of a part of what a method returns, behind the label of the member."""
    label, _, method = name.rpartition(": ")
    return f"{label}: {part} of {method}"


def _file(member: object) -> str:
    try:
        return inspect.getfile(type(member))
    except (TypeError, OSError):
        return ""
