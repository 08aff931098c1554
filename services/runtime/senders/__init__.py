"""Ways a message leaves.

Law: a sender says what it promises and how a call ended; it never decides whether to send or to try again.
"""
