"""What writes the data files of the package: each module is run from the root as ``python -m``."""
