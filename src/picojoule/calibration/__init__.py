"""Constants of a machine file from measurements: fitted, and judged by what the rows can tell.

``measurements`` reads the rows, ``predictions`` says what the model counts for them, ``linear``
and ``pace`` fit energies and times, ``identifiability`` says what is determined, and
``calibration`` does it all.
"""
