"""URLs that a bundle brings: judged by their text alone.

Law: nothing is looked up and nothing called; a name that leads to a private address is found out when it is called
(`services.infra.outbound`). What different readers of URLs take differently is refused.
Source: pinpoint design 7 (https, no user info, no private hosts, no probe); WHATWG URL (numbers as hosts).
"""

import re
from typing import Final

from services.infra.addresses import is_address, is_public

_PRIVATE: Final = ("localhost", "local", "localdomain", "internal", "intranet", "lan", "corp", "home", "private")
_ARPA: Final = "home.arpa"
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_SPLIT: Final = re.compile(r"https://([^/?#]*)([/?#].*)?", re.IGNORECASE | re.DOTALL)
_MARKUP: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")
_LIQUID: Final = re.compile(r"\{[{%]")


def url_fault(url: str) -> str | None:
    """Why a bundle may not bring this URL, as a sentence; None if it may. Liquid may stand behind the host."""
    if not url.isprintable() or " " in _MARKUP.sub("", url) or "\\" in url:
        return "The URL holds characters that no URL has."
    split = _SPLIT.fullmatch(url)
    if split is None:
        return "A webhook of a bundle begins with https://."
    authority = split[1]
    if "@" in authority:
        return "A URL with credentials is not taken: put them into a header."
    if _LIQUID.search(authority) or not authority:
        return "The host has to be written out."
    host = _host_of(authority)
    if host is None:
        return "The host is not written in a form we call."
    if is_address(host):
        return None if is_public(host) else "The host is a private address."
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return "The host is a number, which some readers take for an address."
    if len(labels) == 1 or labels[-1] in _PRIVATE or host.endswith(f".{_ARPA}") or host == _ARPA:
        return "The host is a private name."
    return None


def _host_of(authority: str) -> str | None:
    """The host of an authority in its ASCII form, without port and final dot."""
    if authority.startswith("["):
        host, closed, port = authority[1:].partition("]")
        if not closed or "%" in host or not is_address(host) or (port and not _is_port(port.removeprefix(":"))):
            return None
        return host
    host, _, port = authority.partition(":")
    if port and not _is_port(port):
        return None
    try:
        # Full-width digits and dots become plain ones, as they do in every client.
        plain = host.encode("idna").decode().lower().removesuffix(".")
    except UnicodeError:
        return None
    return plain if plain and all(_LABEL.fullmatch(label) for label in plain.split(".")) else None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65_536
