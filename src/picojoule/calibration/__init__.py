"""Constants of a machine file from measurements: fitted, and judged by what the rows can tell.

``measurements`` reads the rows, ``predictions`` says what the model counts for them, ``linear``
and ``pace`` fit energies and times, ``fits`` both, ``identifiability`` says what is determined,
``judgement`` how each row comes out, ``machine`` writes the file, and ``calibration`` does it all.
"""
