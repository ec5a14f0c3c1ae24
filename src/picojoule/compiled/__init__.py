"""Functions written in Python and run as machine code, made once and kept.

A function under :func:`compiled` is plain Python that numba can compile. Its annotations say what
it takes: ``int``, ``float``, ``bool``, the arrays of :mod:`arrays`, and tuples of these, named or
not. It is compiled ahead, with its whole unit (:mod:`units`), by :mod:`building`: when picojoule is
installed, or else at its first call; what comes out is kept. A process that calls it loads machine
code (:mod:`loading`) and imports no compiler.
"""
