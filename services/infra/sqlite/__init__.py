"""The engine under the embedded store and log: one SQLite file, one writer.

Law: one connection writes, and what it acknowledges is on the disk. All who wait share one commit. The file
belongs to one server at a time, and a file that cannot be trusted is refused, never replaced.
"""
