"""A mapping played through in time, tile by tile."""
