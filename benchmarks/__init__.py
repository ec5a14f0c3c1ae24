"""How quick and how good the search is: each module is run from the root as ``python -m``."""
