"""Path from flags to a complete workdir: prepare, train, evaluate, draw, report (``run``)."""
