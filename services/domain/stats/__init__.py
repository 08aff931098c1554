"""Statistics: the only room that knows numpy and scipy.

Law: pure functions of counts; no Monte Carlo, no seed, nothing of the rest of the domain.
"""
