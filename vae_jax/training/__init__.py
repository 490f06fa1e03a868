"""Training: the update (``step``), all runs of a study (``vectorized``), the host's ``loop``."""
