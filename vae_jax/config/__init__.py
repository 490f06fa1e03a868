"""Flags: ``flags`` declares them, ``build`` makes specs and hyperparameters of them.

A command line becomes a checked ``Config`` in ``command_line``; ``flag_types`` are the ranges of
its values, ``validation`` knows which flags go together, and ``sweeps`` makes one ``Config`` per
run of a study.
"""
