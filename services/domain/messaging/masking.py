"""Personal data as it may be shown to people who need not know it.

Law: enough stays to recognise a message by, never enough to reach anybody. Source: contract 5 (PII masked).
"""


def masked_address(address: str) -> str:
    """`anna@example.com` as `a***@e***.com`; any other address keeps its first character and its length class."""
    name, at, host = address.rpartition("@")
    if not at:
        return f"{address[:1]}***" if address else ""
    domain, dot, top = host.rpartition(".")
    return f"{name[:1]}***@{(domain or top)[:1]}***{dot}{top if dot else ''}"
