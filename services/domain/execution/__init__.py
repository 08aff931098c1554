"""What happens to a person in a journey.

Law: one pure function, `plan`, decides what happens next; production, dry run, replay and benchmarks call it,
and nobody else decides. Its result is data: the next state, history and effects.
"""
