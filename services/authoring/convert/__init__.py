"""The same things in two alphabets: messages of the wire and records of the log; values and documents here.

Law: nothing is decided and nothing awaited. Functions are called `x_to_proto` and `x_from_proto`.
"""
