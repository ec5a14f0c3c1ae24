"""Networks whose MACs are counted twice: by picojoule, and by somebody else."""
