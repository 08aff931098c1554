"""The only door: HTTP in, gRPC out.

Law: nothing is decided here. A route reads a body by its schema, asks one service, and shows what it said; rules,
stores and clocks of others are unknown. Every answer is JSON of the contract or a problem (RFC 9457), never HTML
by accident and never a trace.
"""
