"""Bundles: journeys with all they refer to, as one JSON document to move between workspaces.

Law: a bundle is plain JSON in canonical form. Whoever makes one hashes it here, whoever reads one trusts nothing in it.
Source: the migration design, 6 and 7.
"""
