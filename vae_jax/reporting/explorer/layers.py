"""The decoder of a trained run as a list of layers, which a page computes one after the other.

A layer is a mapping: its ``kind`` and what that kind needs. Feature maps are ``[height, width,
channels]``, channels last.

==============  =====================================================  =========================
kind            h becomes                                              fields
==============  =====================================================  =========================
``dense``       ``h kernel + bias``                                    kernel, bias
``labels``      ``h + kernel[y]``, y the class                         kernel
``activation``  ``name(h)``, each number for itself                    name
``transposed``  the transposed 4x4 convolution of stride 2, cut        from, to, kernel, bias
``same``        the 3x3 convolution of stride 1 with padding SAME      size, kernel, bias
``residual``    ``h + multiple * layers(h)``                           multiple, layers
==============  =====================================================  =========================

Weight normalization is folded into the kernels. :func:`outputs` computes the layers in numpy: by it
a page is compared with its model before it is written.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Float

from vae_jax.models.networks import ACTIVATIONS, MLP, Conv, Network, ResNet
from vae_jax.models.vae import TrainedVAE
from vae_jax.types import Params

Layer: TypeAlias = dict[str, Any]
"""Layer of a decoder, as described at the top of this module."""


class UnsupportedError(Exception):
    """Error of a run that a page cannot compute; its text is the reason, for the reader."""


def of_run(trained: TrainedVAE) -> list[Layer]:
    """Return the layers of a run's decoder, up to the bias of each dimension of x.

    Raises:
        UnsupportedError: the network is not one of this package.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import VAE, HParams
        >>> model, hparams = VAE((4, 4, 1), 2, MLP((8,))), HParams.of(latent_size=2)
        >>> run = TrainedVAE(model, hparams, model.init(hparams, jnp.full((4, 4, 1), 0.5)))
        >>> [(layer["kind"], *layer.get("kernel", np.zeros(())).shape) for layer in of_run(run)]
        [('dense', 2, 8), ('activation',), ('dense', 8, 16)]
    """
    model, decoder = trained.model, trained.params["decoder"]
    make = _BODIES.get(type(model.network))
    if make is None:
        raise UnsupportedError(
            f"its network {type(model.network).__name__} is not one of vae_jax, and a page knows "
            "only the layers of those"
        )
    first = decoder["latent"]
    kernel = _array(first["kernel"])[: int(trained.hparams.latent_size)]
    *leading, last = model.event_shape
    shape = (*leading, last * model.likelihood.num_outputs)
    opening = [_dense(kernel, first.get("bias"))]
    if "labels" in decoder:
        opening.append({"kind": "labels", "kernel": _array(decoder["labels"])})
    return [*opening, *make(model.network, decoder.get("body", {}), shape)]


def outputs(
    layers: Sequence[Layer], h: Float[np.ndarray, "n *shape"], y: np.ndarray | None = None
) -> Float[np.ndarray, "n *other"]:
    """Return what the layers make of a batch of inputs.

    Args:
        layers: layers in their order.
        h: inputs.
        y: classes, one for each input, where a layer reads them.

    Example:
        >>> outputs([{"kind": "activation", "name": "relu"}], np.array([[-1.0, 2.0]])).tolist()
        [[0.0, 2.0]]
    """
    for layer in layers:
        own = layer["kind"]
        h = h + layer["kernel"][y] if own == "labels" else _APPLY[own](layer, h)
    return h


def _mlp(network: Network, body: Params, shape: Sequence[int]) -> Iterator[Layer]:
    """Yield the layers behind the first one of an MLP."""
    assert isinstance(network, MLP)
    del shape
    if not network.hidden_sizes:
        return
    for index in range(len(network.hidden_sizes)):
        yield _activation(network.activation)
        yield _dense(*_weights(body, f"Dense_{index}", index))


def _conv(network: Network, body: Params, shape: Sequence[int]) -> Iterator[Layer]:
    """Yield the layers behind the first one of a convolutional or residual network."""
    assert isinstance(network, Conv | ResNet)
    channels, height, width = network.channels, *shape[:2]
    sizes = [(-(-height // 2**i), -(-width // 2**i)) for i in range(len(channels) + 1)]
    num_dense, num_blocks = len(network.hidden_sizes), getattr(network, "num_blocks", 0)
    for index in range(num_dense):
        yield _activation(network.activation)
        yield _dense(*_weights(body, f"Dense_{index}", index))
    for level in range(len(channels)):
        name, size = f"ConvTranspose_{level}", sizes[-1 - level]
        for block in range(num_blocks):
            residual = body[f"Residual_{level * num_blocks + block}"]
            yield _residual(residual, network.activation, (*size, channels[-1 - level]))
        yield _activation(network.activation)
        kernel, bias = _weights(body, name, num_dense + level)
        # A transposed convolution adds each input, times the kernel turned around, to its window.
        turned = {"kernel": kernel[::-1, ::-1], "bias": bias}
        yield {"kind": "transposed", "from": [*size], "to": [*sizes[-2 - level]]} | turned


def _residual(params: Params, activation: str, shape: Sequence[int]) -> Layer:
    layers = []
    for index in range(2):
        kernel, bias = _weights(params, f"SameConv_{index}", index)
        conv = {"kind": "same", "size": [*shape[:2]], "kernel": kernel, "bias": bias}
        layers += [_activation(activation), conv]
    return {"kind": "residual", "multiple": float(params["multiple"]), "layers": layers}


def _activation(name: str) -> Layer:
    return {"kind": "activation", "name": name}


def _dense(kernel: np.ndarray, bias: Any) -> Layer:
    return {"kind": "dense", "kernel": kernel, "bias": None if bias is None else _array(bias)}


def _weights(params: Params, name: str, index: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return kernel and bias of a layer, its weight normalization g v / ||v|| multiplied out."""
    own, norm = params[name], params.get(f"WeightNorm_{index}", {})
    kernel, bias = _array(own["kernel"]), own.get("bias")
    scale = norm.get(f"{name}/kernel/scale")
    if scale is not None:
        axes = tuple(range(kernel.ndim - 1))
        squares = np.sum(kernel**2, axis=axes, keepdims=True)
        kernel = kernel / np.sqrt(squares + 1e-12) * _array(scale)
    return kernel, None if bias is None else _array(bias)


def _array(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


_BODIES: dict[type, Callable[[Network, Params, Sequence[int]], Iterator[Layer]]] = {
    MLP: _mlp,
    Conv: _conv,
    ResNet: _conv,
}
"""Layers behind the first one, by the network. A subclass may compute something else."""


def _add_bias(layer: Layer, h: np.ndarray) -> np.ndarray:
    return h if layer["bias"] is None else h + layer["bias"].reshape((1,) * (h.ndim - 1) + (-1,))


def _apply_dense(layer: Layer, h: np.ndarray) -> np.ndarray:
    return _add_bias(layer, h.reshape(len(h), -1) @ layer["kernel"])


def _apply_activation(layer: Layer, h: np.ndarray) -> np.ndarray:
    return np.asarray(ACTIVATIONS[layer["name"]](jax.numpy.asarray(h)))


def _apply_transposed(layer: Layer, h: np.ndarray) -> np.ndarray:
    """Return the sum over the windows of 4x4 pixels, window (r, c) from pixel (2r-1, 2c-1) on."""
    kernel, (rows, columns), (height, width) = layer["kernel"], layer["from"], layer["to"]
    *_, channels, features = kernel.shape
    h = h.reshape(len(h), rows, columns, channels)
    out = np.zeros((len(h), 2 * rows + 2, 2 * columns + 2, features), h.dtype)
    for i in range(4):
        for j in range(4):
            out[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] += h @ kernel[i, j]
    return _add_bias(layer, out[:, 1 : 1 + height, 1 : 1 + width])


def _apply_same(layer: Layer, h: np.ndarray) -> np.ndarray:
    kernel, (height, width) = layer["kernel"], layer["size"]
    padded = np.pad(h.reshape(len(h), height, width, -1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    parts = [
        padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)
    ]
    return _add_bias(layer, np.sum(parts, axis=0))


def _apply_residual(layer: Layer, h: np.ndarray) -> np.ndarray:
    return h + layer["multiple"] * outputs(layer["layers"], h).reshape(h.shape)


_APPLY: Mapping[str, Callable[[Layer, np.ndarray], np.ndarray]] = {
    "dense": _apply_dense,
    "activation": _apply_activation,
    "transposed": _apply_transposed,
    "same": _apply_same,
    "residual": _apply_residual,
}


def num_weights(layers: Sequence[Layer]) -> int:
    """Return the number of weights, biases included.

    Example:
        >>> num_weights([{"kind": "dense", "kernel": np.zeros((2, 3)), "bias": np.zeros(3)}])
        9
    """
    own = (layer.get(name) for layer in layers for name in ("kernel", "bias"))
    inner = sum(num_weights(layer.get("layers", ())) for layer in layers)
    return inner + sum(math.prod(array.shape) for array in own if array is not None)
