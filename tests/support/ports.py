"""Ports for servers that are killed and come back at the same place.

Law: they lie below those the system gives to clients. A client that knocks again and again at a server that is down
may be given that very port, even connect to itself there, and then keeps the server from coming back.
"""

import random
import socket


def server_ports(count: int = 1, *, neighbours: int = 1) -> list[int]:
    """Free ports, of each of which so many are free in a row."""
    found: list[int] = []
    for port in random.sample(range(15_000, 30_000, 10), 1_500):
        if all(_is_free(port + place) for place in range(neighbours)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no port is free")


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
