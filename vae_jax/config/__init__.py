"""Flags: ``flags`` collects their declarations, ``build`` makes specs and hyperparameters of them.

A command line becomes a checked ``Config`` in ``command_line``; ``members`` finds the members that
flags choose, ``validation`` knows which flags go together, and ``sweeps`` makes one ``Config`` per
run of a study.
"""
