"""Networks made smaller, with energy seen only through :func:`picojoule.estimate`.

:mod:`energy_aware` holds :func:`prune`; :mod:`profiling` records activations on real data;
cutting whole channels to a platform's budget is :mod:`netadapt`, with :func:`adapt`;
:mod:`released` gives networks that were pruned with it. Everything here needs ``picojoule[torch]``.
"""
