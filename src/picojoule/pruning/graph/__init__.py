"""A network as a graph, and how channels are cut out of it."""
