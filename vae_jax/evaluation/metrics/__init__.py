"""Metrics: the measures that evaluators compute, as pure functions of arrays.

In JAX: ``evidence`` (reductions of importance weights), ``decomposition`` (of the KL), ``hmc``, and
two that take a model, ``ais`` (bounds on log p(x) from both sides) and ``gaps`` (approximation and
amortization gap). On the host, with numpy and scikit-learn: ``disentanglement``, which collects
``information`` (MIG, modularity), ``dci``, ``separation`` (SAP, explicitness) and ``intervention``
(FactorVAE and BetaVAE scores, IRS) of ``codes``; ``representation`` (probes and neighbours) and
``samples`` (MMD, precision, recall, density, coverage, in pixels or ``features``).

To add a metric, write a function here, in the module of its kind or in one of its own. It takes
arrays and returns numbers, or an ``estimates.Estimate`` where there is a standard error; it reads
no file and no flag, and its docstring has the formula, the unit, the value at chance and the
source. Test it in ``tests/evaluation/metrics`` against a closed form. Then let an evaluator declare
its column and put it into the row (``vae_jax.evaluation.evaluators``).
"""
