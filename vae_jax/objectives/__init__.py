"""Objectives: bounds on log p(x), their gradient estimators, and regularizers."""
