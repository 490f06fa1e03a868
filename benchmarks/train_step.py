"""Measure ms per training step: ours, its matrix products, PyTorch eager and compiled.

    python benchmarks/train_step.py --net=mlp      # 784-400-20-400-784, batch 128
    python benchmarks/train_step.py --net=conv     # 28x28x1, 32-64 filters 4x4 stride 2, batch 64

Everything is measured in this one process, round after round: in each round every contender runs
once, and a ratio is the median over rounds of the ratio within a round, so that a busy machine
slows both sides of it. Images are synthetic: no time depends on what they show. PyTorch is
optional.
"""

import argparse
import functools
import math
import os
import statistics
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from measuring import Advance, Training, images, measure

from vae_jax.hparams import HParams
from vae_jax.models.networks import MLP, Conv
from vae_jax.models.vae import VAE
from vae_jax.training.batches import Examples
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import BatchKeys, draw_batch, init


class Setup(NamedTuple):
    """Benchmark of one network.

    Attributes:
        spec: model and training.
        products: (rows, inputs, outputs) of each layer's matrix product, in the net's order.
        parallel_runs: how many runs are also timed under one vmap; 1 for none.
        steps: updates per measurement.
    """

    spec: TrainSpec
    products: tuple[tuple[int, int, int], ...]
    parallel_runs: int
    steps: int


def mlp() -> Setup:
    batch, pixels, hidden, latents = 128, 784, 400, 20
    model = VAE((28, 28, 1), latents, MLP((hidden,)))
    sizes = [(pixels, hidden), (hidden, latents), (hidden, latents), (latents, hidden)]
    products = tuple((batch, *size) for size in [*sizes, (hidden, pixels)])
    return Setup(TrainSpec(model, batch_size=batch, binarize="dynamic"), products, 1, 500)


def conv() -> Setup:
    batch, dense, latents = 64, 256, 16
    model = VAE((28, 28, 1), latents, Conv((32, 64), (dense,)))
    half, quarter = batch * 14 * 14, batch * 7 * 7
    heads = [(batch, dense, latents)] * 2
    products = (
        *[(half, 16 * 1, 32), (quarter, 16 * 32, 64), (batch, 49 * 64, dense), *heads],
        *[(batch, latents, dense), (batch, dense, 49 * 64)],
        *[(quarter, 64, 16 * 32), (half, 32, 16 * 1)],
    )
    return Setup(TrainSpec(model, batch_size=batch, binarize="dynamic"), products, 4, 100)


SETUPS = {"mlp": mlp, "conv": conv}
NUM_IMAGES = 60_000
"""Number of images, that of MNIST for training."""


# --- contenders -----------------------------------------------------------------------------------


def ours(setup: Setup, pixels: jax.Array, num_runs: int) -> Advance:
    """Train with the package, all runs in one vmap."""
    return Training(setup.spec, Examples(pixels), num_runs, setup.steps).advance


def floor(setup: Setup) -> Advance:
    """Compute each layer's products y = x w, dx = dy w', dw = x' dy, and nothing else, in a loop.

    A step's results are the next step's operands (their shapes agree), so that nothing is constant
    in the loop, where XLA would move it out, and nothing unused, where it would drop it. The first
    layer needs no dx. Values overflow; a product takes as long whatever its factors are.
    """

    def layer(index: int, operands: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        x, w, dy = operands
        return (dy @ w.T if index else x), x.T @ dy, x @ w

    def step(_: jax.Array, layers: list[tuple[jax.Array, ...]]) -> list[tuple[jax.Array, ...]]:
        return [layer(index, operands) for index, operands in enumerate(layers)]

    start = [
        (jnp.ones((rows, inputs)), jnp.ones((inputs, outputs)), jnp.ones((rows, outputs)))
        for rows, inputs, outputs in setup.products
    ]
    loop = jax.jit(lambda layers, steps: jax.lax.fori_loop(0, steps, step, layers))
    return lambda: jax.block_until_ready(loop(start, jnp.asarray(setup.steps))) and None


def torch_step(net: str, setup: Setup, pixels: np.ndarray, is_compiled: bool) -> Advance:
    """Do the same step in PyTorch, on its GPU if it has one; ImportError without PyTorch."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_default_device(device)
    encoder, heads, decoder = _torch_mlp() if net == "mlp" else _torch_conv()
    bias = torch.full((784,), -2.0, requires_grad=True)
    parts = torch.nn.ModuleList([encoder, heads, decoder])
    optimizer = torch.optim.Adam([*parts.parameters(), bias], 1e-3)
    stored = torch.tensor(pixels).reshape(-1, 1, 28, 28)
    batch, latents = setup.spec.batch_size, setup.spec.model.max_latents

    def loss_fn(x: Any, noise: Any) -> Any:
        mean, log_var = heads(encoder(x)).chunk(2, -1)
        logits = decoder(mean + torch.exp(0.5 * log_var) * noise).flatten(1) + bias
        cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
        distortion = cross_entropy(logits, x.flatten(1), reduction="sum")
        return (distortion + 0.5 * (log_var.exp() + mean**2 - 1 - log_var).sum()) / batch

    loss = torch.compile(loss_fn) if is_compiled else loss_fn

    def advance() -> None:
        for _ in range(setup.steps):
            x = torch.bernoulli(stored[torch.randint(0, len(stored), (batch,))].float() / 255)
            optimizer.zero_grad(set_to_none=True)
            loss(x, torch.randn(batch, latents)).backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return advance


def _torch_mlp() -> tuple[Any, Any, Any]:
    from torch import nn

    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU())
    decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784, bias=False))
    return encoder, nn.Linear(400, 40), decoder


def _torch_conv() -> tuple[Any, Any, Any]:
    from torch import nn

    convolutions = nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU()
    encoder = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(3136, 256), nn.ReLU())
    dense = nn.Linear(16, 256), nn.ReLU(), nn.Linear(256, 3136), nn.ReLU()
    up = (
        nn.ConvTranspose2d(64, 32, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, 2, 1, bias=False),
    )
    decoder = nn.Sequential(*dense, nn.Unflatten(1, (64, 7, 7)), *up)
    return encoder, nn.Linear(256, 32), decoder


# --- parts of our step ----------------------------------------------------------------------------


def batches_alone(setup: Setup, pixels: jax.Array) -> Advance:
    """Gather and binarize the batch and draw the noise of each step."""
    spec = setup.spec
    hparams = HParams.of(latent_size=spec.model.max_latents)

    def draw(step: jax.Array) -> tuple[jax.Array, jax.Array]:
        indices = (step * spec.batch_size + 401 * jnp.arange(spec.batch_size)) % len(pixels)
        batch = draw_batch(spec, BatchKeys.at(hparams, step), Examples(pixels), indices)
        return batch.x, batch.noise

    loop = jax.jit(
        lambda start, steps: jax.lax.fori_loop(0, steps, lambda step, _: draw(step), start)
    )
    start = jax.tree.map(jnp.zeros_like, draw(jnp.asarray(0)))
    return lambda: jax.block_until_ready(loop(start, jnp.asarray(setup.steps))) and None


def optimizer_alone(setup: Setup) -> Advance:
    """Update by Adam on a constant gradient."""
    spec = setup.spec
    hparams = HParams.of(latent_size=spec.model.max_latents)
    start = init(spec, hparams, jnp.full(spec.model.image_shape, 0.1))

    def step(_: jax.Array, carry: Any, gradient: Any) -> Any:
        params, opt_state = carry
        transformation = spec.optimizer.transformation(hparams, start.step)
        updates, opt_state = transformation.update(gradient, opt_state, params)
        return jax.tree.map(jnp.add, params, updates), opt_state

    @jax.jit
    def loop(carry: Any, gradient: Any, steps: jax.Array) -> Any:
        return jax.lax.fori_loop(0, steps, functools.partial(step, gradient=gradient), carry)

    carry = (start.params, start.opt_state)
    gradient = jax.tree.map(jnp.ones_like, start.params)
    return lambda: jax.block_until_ready(loop(carry, gradient, jnp.asarray(setup.steps))) and None


# --- measuring ------------------------------------------------------------------------------------


def contenders_of(net: str, setup: Setup) -> tuple[dict[str, Advance], dict[str, str]]:
    """Return the contenders by name, and why others are missing."""
    host = images(NUM_IMAGES)
    pixels = jnp.asarray(host)
    found = {"ours": ours(setup, pixels, 1), "matrix products alone": floor(setup)}
    if setup.parallel_runs > 1:
        name = f"ours, {setup.parallel_runs} runs in a vmap, per run"
        found[name] = ours(setup, pixels, setup.parallel_runs)
    found["  batch: gather, binarize, noise"] = batches_alone(setup, pixels)
    found["  Adam"] = optimizer_alone(setup)
    missing: dict[str, str] = {}
    for name, is_compiled in (("PyTorch eager", False), ("torch.compile", True)):
        try:
            advance = torch_step(net, setup, host, is_compiled)
            advance()
            found[name] = advance
        except (ImportError, RuntimeError) as error:
            missing[name] = str(error).splitlines()[0]
    return found, missing


def report(setup: Setup, seconds: dict[str, list[float]], missing: dict[str, str]) -> None:
    """Print the table, then what is left of our step after its measured parts."""
    per_step = {
        name: [
            1e3 * s / setup.steps / (setup.parallel_runs if "vmap" in name else 1) for s in all_s
        ]
        for name, all_s in seconds.items()
    }
    references = [name for name in ("matrix products alone", "PyTorch eager") if name in per_step]
    print(f"{'':36}{'ms/step':>9}" + "".join(f"{'/ ' + name:>25}" for name in references))
    for name, ms in per_step.items():
        ratios = (statistics.median(map(float.__truediv__, ms, per_step[r])) for r in references)
        print(f"{name:36}{statistics.median(ms):9.2f}" + "".join(f"{r:25.2f}" for r in ratios))
    for name, reason in missing.items():
        print(f"{name:36} not measured: {reason}")
    step, *parts = (statistics.median(per_step[name]) for name in per_step if _is_part(name))
    rest = step - math.fsum(parts)
    print(f"\nours - products - batch - Adam = {rest:.2f} ms: activations, biases, likelihood, KL,")
    print(
        "reductions, shuffling" + (", windows and their overlap" if setup.parallel_runs > 1 else "")
    )


def _is_part(name: str) -> bool:
    return name in ("ours", "matrix products alone") or name.startswith("  ")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--net", choices=SETUPS, default="mlp")
    parser.add_argument("--repeats", type=int, default=7, help="rounds")
    parser.add_argument("--steps", type=int, help="updates per contender and round")
    args = parser.parse_args()
    setup = SETUPS[args.net]()
    setup = setup._replace(steps=args.steps or setup.steps)
    print(
        f"{args.net}, batch {setup.spec.batch_size}, {os.cpu_count()} cores, jax {jax.__version__}"
    )
    contenders, missing = contenders_of(args.net, setup)
    report(setup, measure(contenders, args.repeats), missing)


if __name__ == "__main__":
    main()
