"""Journeys as authors write them: the closed union of steps, predicates, graph checks, the life cycle.

Law: this room says what a journey means and whether it is sound. It never says what happens to a person:
that is `services.domain.execution`.
"""
