"""The event-log port and its adapters.

Law: what is appended is durable when acknowledged, keeps its order within a partition, and is delivered at
least once; whoever reads says how far they have come.
"""
