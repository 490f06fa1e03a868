/*
 * The latent space: the set in which z lies, and ways from one code to another
 * (vae_jax.models.paths).
 */

/** Returns the point of the run's support that is nearest to z: of R^n, the sphere, or the grid. */
function project(run, z) {
  if (run.support === "sphere") {
    const length = norm(z);
    return z.map((value, i) => (length > 0 ? value / length : Number(i === 0)));
  }
  if (run.support === "grid") {
    const steps = run.levels - 1;
    return z.map((value) => {
      const index = Math.round(0.5 * (value + 1) * steps);
      return (2 * Math.min(steps, Math.max(0, index))) / steps - 1;
    });
  }
  return z;
}

const norm = (z) => Math.sqrt(z.reduce((sum, value) => sum + value * value, 0));

/** Returns the point of the straight line at share t. */
function straight(start, end, t) {
  return start.map((value, i) => (1 - t) * value + t * end[i]);
}

/**
 * Returns the point at share t of the great circle through both directions, whose length changes
 * evenly (Shoemake 1985): sin((1 - t) a) / sin(a) start + sin(t a) / sin(a) end. Ends of the same or
 * opposite direction, or at the origin, determine no circle and are joined by a line.
 */
function spherical(start, end, t) {
  const lengths = [norm(start), norm(end)];
  if (!(lengths[0] * lengths[1] > 0)) return straight(start, end, t);
  const cosine = start.reduce((sum, value, i) => sum + value * end[i], 0) / (lengths[0] * lengths[1]);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const sine = Math.sin(angle);
  if (sine < 1e-4) return straight(start, end, t);
  const length = (1 - t) * lengths[0] + t * lengths[1];
  const weights = [Math.sin((1 - t) * angle) / sine / lengths[0], Math.sin(t * angle) / sine / lengths[1]];
  return start.map((value, i) => length * (weights[0] * value + weights[1] * end[i]));
}

const PATHS = { straight, spherical };

/** Returns a - b + c: what a has and b has not, added to c. */
function arithmetic(a, b, c) {
  return a.map((value, i) => value - b[i] + c[i]);
}
