"""Laws: what is decided, as pure and synchronous functions over plain values.

Law: no IO, no clock, no randomness, no logging, no vendor. What a decision needs from outside
(the time, a rendered text, a recurrence) comes in as an argument.
"""
