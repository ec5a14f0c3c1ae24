"""Limitations of existing designs, as studies to repeat: ``python -m studies.limitations``."""
