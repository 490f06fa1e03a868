"""Services that any long-running JAX program needs: devices, processes, files, signals, clocks.

Nothing here knows of a model, and nothing here imports another package of the project.
"""
