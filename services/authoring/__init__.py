"""Authoring: journeys, versions, trigger contracts, audiences, communications, workspaces, members.

Law: an act is one guarded write that carries its own announcement; it is answered after the log has it. Use cases
know the domain and the ports; protos end in `servicer` and `convert`, and only `app` chooses.
"""
