/*
 * The decoder: a list of layers, each computed from what the one before it gave. Feature maps lie in
 * memory as [height][width][channel], kernels as [row][column][input channel][output channel], so
 * that the innermost loops run over neighbours in memory. An input that is zero, as half of all are
 * behind a ReLU, adds nothing and is passed over.
 */

/** The nonlinearities of vae_jax.models.networks.ACTIVATIONS. */
const ACTIVATIONS = {
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  gelu: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  leaky_relu: (x) => (x >= 0 ? x : 0.01 * x),
  relu: (x) => (x > 0 ? x : 0),
  silu: (x) => x / (1 + Math.exp(-x)),
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  tanh: Math.tanh,
};

/** Returns layers whose arrays are numbers in place of text. */
function unpackLayers(layers) {
  return layers.map((layer) => ({
    ...layer,
    shape: layer.kernel && layer.kernel.shape,
    kernel: layer.kernel && unpack(layer.kernel),
    bias: layer.bias && unpack(layer.bias),
    layers: layer.layers && unpackLayers(layer.layers),
  }));
}

/** Returns what the layers make of h; label is the class, for layers that read it. */
function applyLayers(layers, h, label) {
  return layers.reduce((value, layer) => APPLY[layer.kind](layer, value, label), h);
}

const APPLY = {
  /** h kernel + bias. */
  dense(layer, h) {
    const [inputs, outputs] = layer.shape;
    const out = filledWith(layer.bias, outputs, 1);
    for (let i = 0; i < inputs; i++) addScaled(out, 0, h[i], layer.kernel, i * outputs, outputs);
    return out;
  },

  /** h + kernel[label]: what a class adds. */
  labels(layer, h, label) {
    const width = layer.shape[1];
    return h.map((value, i) => value + layer.kernel[label * width + i]);
  },

  /** The nonlinearity of each number. */
  activation(layer, h) {
    return h.map(ACTIVATIONS[layer.name]);
  },

  /**
   * The transposed 4x4 convolution of stride 2: each input (r, c) adds its channels times the kernel
   * to the window of 4x4 outputs that begins at (2r - 1, 2c - 1).
   */
  transposed(layer, h) {
    const [rows, columns] = layer.from;
    const [height, width] = layer.to;
    const [, , channels, features] = layer.shape;
    const out = filledWith(layer.bias, features, height * width);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        for (let i = 0; i < 4; i++) {
          const y = 2 * r - 1 + i;
          if (y < 0 || y >= height) continue;
          for (let j = 0; j < 4; j++) {
            const x = 2 * c - 1 + j;
            if (x < 0 || x >= width) continue;
            const place = (i * 4 + j) * channels;
            const target = (y * width + x) * features;
            addPixel(out, target, h, (r * columns + c) * channels, layer.kernel, place, channels, features);
          }
        }
      }
    }
    return out;
  },

  /** The 3x3 convolution of stride 1 whose output has the size of its input. */
  same(layer, h) {
    const [height, width] = layer.size;
    const [, , channels, features] = layer.shape;
    const out = filledWith(layer.bias, features, height * width);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (let i = 0; i < 3; i++) {
          const r = y + i - 1;
          if (r < 0 || r >= height) continue;
          for (let j = 0; j < 3; j++) {
            const c = x + j - 1;
            if (c < 0 || c >= width) continue;
            const place = (i * 3 + j) * channels;
            const target = (y * width + x) * features;
            addPixel(out, target, h, (r * width + c) * channels, layer.kernel, place, channels, features);
          }
        }
      }
    }
    return out;
  },

  /** h + multiple * layers(h). */
  residual(layer, h, label) {
    const branch = applyLayers(layer.layers, h, label);
    return h.map((value, i) => value + layer.multiple * branch[i]);
  },
};

/** Returns the bias once for each place, zeros where there is none. */
function filledWith(bias, features, places) {
  const out = new Float32Array(features * places);
  if (bias) for (let place = 0; place < places; place++) out.set(bias, place * features);
  return out;
}

/** Adds the channels of one pixel, times the kernel of one place of the window, to an output pixel. */
function addPixel(out, target, h, source, kernel, place, channels, features) {
  for (let channel = 0; channel < channels; channel++) {
    addScaled(out, target, h[source + channel], kernel, (place + channel) * features, features);
  }
}

/** Adds x times `count` numbers of the kernel to the output. */
function addScaled(out, target, x, kernel, start, count) {
  if (x === 0) return;
  for (let i = 0; i < count; i++) out[target + i] += x * kernel[start + i];
}
