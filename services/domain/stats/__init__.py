"""Statistics: the only room that knows numpy and scipy.

Law: pure functions of integer counts; quadrature, no Monte Carlo, no seed; the same counts give the same doubles.
All counts 0 <= goals <= reached <= 1e9 have an answer, never NaN or Infinity; should a self-check fail, `Unsolved` is
raised instead of a wrong number. Nothing of the rest of the domain is known here.

    rates         a rate and its two intervals
    arms          which arm is best, and what choosing another costs
    routing       win probabilities to routing weights
    checks        was the traffic split as promised, did an arm's rate drift
    corrected     a rate freed of the bias that adaptive routing gives it
    lift          exposed against holdout
    sample_ratio  is the holdout as large as configured
    posteriors    Beta densities on the logit axis: breakpoints, panels, integrals (for the modules above)
    shifted       ratios and differences of two of them (for the modules above)
    roots         a bracketed root finder (for the modules above)
    counts        what counts may look like (for the modules above)
"""
