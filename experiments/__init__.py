"""The experiments on pruning: each module is a script, run from the root as ``python -m``."""
