"""Networks made smaller, with energy seen only through :func:`picojoule.estimate`.

:mod:`energy_aware` holds :func:`prune`; :mod:`profiling` records activations on real data;
:mod:`released` gives networks that were pruned with it. Everything here needs ``picojoule[torch]``.
"""
