"""Published figures beside what picojoule computes for the same network, machine and batch.

Every published number comes from ``data/published``; what is fitted is marked. A row has a
tolerance where the project promises one; the others are shown for what they are, with the reason
for a difference where it is known.
"""
