"""The wire: servers, channels, who is calling, and errors as statuses.

Law: whoever serves raises and whoever calls gets what was raised; statuses, deadlines, request ids and retries
are handled here and nowhere else.
"""
