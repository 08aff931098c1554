"""What happened: facts, step statistics, the audit timeline.

Law: everything here is a projection. It can be made again from the log, in any order and with anything said
twice, and comes out the same. Nothing here is the truth, and nobody decides a person's way by it.
"""
