"""The web page and its JSON API: ``picojoule serve`` (extra ``[web]``).

Estimates run as jobs in separate processes, which are killed at their limits; questions and results
are kept in one SQLite file, so that jobs survive a restart and links stay good. What is uploaded is
read in a process of its own; only a network's structure and densities are kept.
"""
