"""The `journeys` command.

Law: it talks HTTP through `journeys_client` and knows no rules, stores or protos. Only `serve` and `demo` start a
server, and only their bodies import one. What is slow to import (HTTP, tables, servers) is imported where it is used,
so that `journeys --help` answers at once.
"""
