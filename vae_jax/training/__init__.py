"""Training: the update (``step``), all runs of a study (``vectorized``), the host's ``loop``.

Read ``loop`` for the story, ``step`` for the mathematics. Batches come from ``batches`` and
``input_pipeline``, the host takes over at ``intervals``, ``memory`` chooses how many runs a device
trains together, ``optimizers`` makes the optax transformation, ``divergence`` explains updates that
were not finite, and ``checkpoint`` saves states.
"""
