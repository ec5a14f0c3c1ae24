"""Energy-aware pruning: as published (CVPR 2017), and in best mode."""
