"""The search for the best mapping of a layer, with a proof, and where answers are kept."""
