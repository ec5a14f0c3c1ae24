"""Which picojoule this is, and which form its answers have."""

__version__ = "0.1.0"

SCHEMA_VERSION = 1
"""Of every JSON that picojoule writes: fields may be added, none is renamed without a new one."""
