"""Pure statistics of an experiment: small sums come in, numbers go out; no row, no clock, no dice and no I/O.

Nothing is imported here, so that the sums (`moments`) can be used without loading scipy.
"""
