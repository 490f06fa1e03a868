"""Measures of a trained model.

In JAX: `evidence` (reductions of log-weights), `decomposition` (of the KL), `hmc`, and, the only
rooms here that know a model, `ais` (bounds on log p(x) from both sides) and `gaps` (what encoder
and family cost). On the host, with numpy and scikit-learn: `disentanglement` (with `codes`,
`information`, `importance`, `separation` and `intervention`), `representation`, and `samples` (in
pixels or `features`).
"""
