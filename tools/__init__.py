"""What writes data files and pages: each module is run from the root as ``python -m``."""
