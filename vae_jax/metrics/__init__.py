"""Measures of a trained model that are functions of arrays: no room here knows a model.

In JAX: `decomposition` (of the KL) and `evidence` (reductions of log-weights). On the host, with
numpy and scikit-learn: `disentanglement` (with `codes`, `information`, `importance`, `separation`
and `intervention`), `representation` and `samples`.
"""
