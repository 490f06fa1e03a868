"""Evaluation: the ELBO of a split, and measures of samples, codes and bounds.

``metrics`` holds the measures, ``evaluators`` one class for each name of ``--evaluate``, and
``columns`` declares every number that a row can hold.
"""
