/*
 * Draws from p(z) and p(x|z), and the mean of p(x|z), as the classes of vae_jax.models.priors and
 * vae_jax.models.likelihoods define them.
 */

/** Returns a number between 0 and 1. A test may put a generator with a seed in its place. */
let uniform = Math.random;

/** Returns a draw from N(0, 1) (Box & Muller 1958). */
function normal() {
  return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** Returns a draw from the gamma distribution of scale 1 (Marsaglia & Tsang 2000). */
function gamma(shape) {
  if (shape < 1) return gamma(shape + 1) * (1 - uniform()) ** (1 / shape);
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = normal();
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
  }
}

/** Returns an index, each with its probability; the weights need not sum to one. */
function categorical(weights) {
  let left = uniform() * weights.reduce((a, b) => a + b, 0);
  for (let k = 0; k < weights.length; k++) {
    left -= weights[k];
    if (left < 0) return k;
  }
  return weights.length - 1;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const logistic = () => {
  const u = uniform();
  return Math.log((u + 1e-12) / (1 - u + 1e-12));
};

/** The log-ratio of a scale that an output gives, within +-6 (likelihoods/scales.py). */
const boundedLogRatio = (output) => 6 * Math.tanh(output / 6);

/** The priors that can be drawn at another temperature: their noise is multiplied by it. */
const TEMPERED = new Set(["normal", "mixture", "classes", "flow"]);

/** Returns z ~ p(z), or p(z|label), with the noise times the temperature. */
function samplePrior(run, label, temperature) {
  const noise = Float64Array.from({ length: run.latents }, () => temperature * normal());
  return PRIORS[run.prior.kind](run, noise, label);
}

const PRIORS = {
  normal: (run, noise) => noise,

  /** A component by its weight, then its Gaussian. */
  mixture: ({ prior }, noise) => fromGaussian(prior, categorical(prior.weights), noise),

  /** The Gaussian of a class. */
  classes: ({ prior }, noise, label) => fromGaussian(prior, label, noise),

  /** The noise through the inverses of the couplings, from the last to the first. */
  flow({ prior: { couplings } }, noise) {
    const count = couplings.bias.shape[0];
    return Array.from({ length: count }, (_, i) => count - 1 - i).reduce(
      (z, index) => inverseCoupling(couplings, index, z),
      noise,
    );
  },

  /** A direction: noise divided by its length. */
  sphere: (run, noise) => project(run, noise),

  /** Each value of each latent with the same probability. */
  grid: ({ levels }, noise) =>
    noise.map(() => (2 * Math.floor(uniform() * levels)) / (levels - 1) - 1),

  /** One of the draws that the model made, of the class where they have one. */
  draws({ prior, latents }, noise, label) {
    const indices = Array.from({ length: prior.z.length / latents }, (_, i) => i).filter(
      (i) => !prior.labels || prior.labels[i] === label,
    );
    const chosen = indices[Math.floor(uniform() * indices.length)];
    return Float64Array.from(prior.z.subarray(chosen * latents, (chosen + 1) * latents));
  },
};

/** Returns mean_k + exp(log_var_k / 2) * noise. */
function fromGaussian({ means, log_vars }, k, noise) {
  const start = k * noise.length;
  return noise.map((e, i) => means[start + i] + Math.exp(0.5 * log_vars[start + i]) * e);
}

/** Returns (z - shift(z)) exp(-log_scale(z)): a coupling of RealNVP, undone. */
function inverseCoupling(couplings, index, z) {
  const n = z.length;
  const size = couplings.bias.shape[1];
  const part = (name, length) =>
    couplings[name].values.subarray(index * length, (index + 1) * length);
  const features = Float64Array.from(part("bias", size));
  const kernel = part("kernel", n * size);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < size; j++) features[j] += z[i] * kernel[i * size + j];
  }
  features.forEach((value, j) => (features[j] = Math.tanh(value)));
  const affine = (name) => {
    const out = Float64Array.from(part(`${name}_bias`, n));
    const weights = part(`${name}_kernel`, size * n);
    features.forEach((value, j) => out.forEach((_, i) => (out[i] += value * weights[j * n + i])));
    return out;
  };
  const logScale = affine("scale").map((value) => 2 * Math.tanh(value / 2)); // flow.MAX_LOG_SCALE
  const shift = affine("shift");
  return z.map((value, i) => (value - shift[i]) * Math.exp(-logScale[i]));
}

/**
 * p(x|z) by the name of the likelihood: the mean and a draw of one dimension of x, given the outputs
 * `o` of the decoder, of which those of this dimension begin at `i`.
 */
const LIKELIHOODS = {
  bernoulli: {
    mean: (_, o, i) => sigmoid(o[i]),
    draw: (_, o, i) => (uniform() < sigmoid(o[i]) ? 1 : 0),
  },

  continuous_bernoulli: {
    mean(_, o, i) {
      const l = o[i];
      return Math.abs(l) < 1e-3 ? 0.5 + l / 12 : -1 / Math.expm1(-l) - 1 / l;
    },
    /** The inverse of the distribution function, which is symmetric in x and 1 - x. */
    draw(_, o, i) {
      const rate = Math.max(Math.abs(o[i]), 1e-12);
      const x = -Math.log1p(uniform() * Math.expm1(-rate)) / rate;
      return o[i] > 0 ? 1 - x : x;
    },
  },

  gaussian: {
    mean: (_, o, i) => o[i],
    draw: (p, o, i) => o[i] + scaleOf(p, o, i) * normal(),
  },

  laplace: {
    mean: (_, o, i) => o[i],
    draw(p, o, i) {
      const u = uniform() - 0.5;
      return o[i] - scaleOf(p, o, i) * Math.sign(u) * Math.log1p(-2 * Math.abs(u));
    },
  },

  student_t: {
    mean: (_, o, i) => o[i],
    draw: (p, o, i) =>
      o[i] + scaleOf(p, o, i) * normal() * Math.sqrt(p.degrees / (2 * gamma(p.degrees / 2))),
  },

  /** A mixture of logistic variables, rounded to the 256 levels of a pixel. */
  discretized_logistic: {
    mean(p, o, i) {
      const { weights, locs, scales } = logisticsOf(p, o, i);
      let mean = 0;
      for (let k = 0; k < weights.length; k++) {
        for (let level = 0; level < 255; level++) {
          mean += (weights[k] * sigmoid((locs[k] - (level + 0.5) / 255) / scales[k])) / 255;
        }
      }
      return mean;
    },
    draw(p, o, i) {
      const { weights, locs, scales } = logisticsOf(p, o, i);
      const k = categorical(weights);
      return Math.min(255, Math.max(0, Math.round(255 * (locs[k] + scales[k] * logistic())))) / 255;
    },
  },

  /** A probability of each of the 256 levels of a pixel. */
  categorical: {
    mean(p, o, i) {
      return softmax(o.subarray(i, i + p.outputs)).reduce((sum, w, k) => sum + (w * k) / 255, 0);
    },
    draw: (p, o, i) => categorical(softmax(o.subarray(i, i + p.outputs))) / 255,
  },
};

/** Returns the scale of a dimension: one for all, or the second output relative to it. */
function scaleOf(p, o, i) {
  return Math.exp(p.log_scale + (p.outputs === 2 ? boundedLogRatio(o[i + 1]) : 0));
}

/** Returns weights, locations and scales of a dimension's logistic components. */
function logisticsOf(p, o, i) {
  const n = p.outputs === 2 ? 1 : p.outputs / 3;
  return {
    weights: n === 1 ? [1] : softmax(o.subarray(i + 2 * n, i + 3 * n)),
    locs: o.subarray(i, i + n),
    scales: o.subarray(i + n, i + 2 * n).map((ratio) => 0.1 * Math.exp(boundedLogRatio(ratio))),
  };
}

function softmax(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = Float64Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}

/** Returns E[x|z], or a draw from p(x|z) with how = "draw"; label is the class, where p has one. */
function decode(run, z, label, how = "mean") {
  const outputs = applyLayers(run.layers, Float32Array.from(z), label);
  for (let i = 0; i < outputs.length; i++) outputs[i] += run.bias[i];
  const p = run.likelihood;
  const of = LIKELIHOODS[p.kind][how];
  const x = new Float32Array(outputs.length / p.outputs);
  for (let d = 0; d < x.length; d++) x[d] = of(p, outputs, d * p.outputs);
  return x;
}
