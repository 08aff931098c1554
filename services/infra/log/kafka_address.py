"""Where a Kafka cluster is and how to talk to it, as one URI.

    kafka://[user:password@]host:port[,host:port][/prefix][?partitions=16&replication=3&instance=worker-1
            &security=SASL_SSL&mechanism=SCRAM-SHA-512&ca=/ca.pem&cert=/client.pem&key=/client.key]

`prefix` comes before every topic and group, with a dot, for installations that share a cluster. `instance` names a
member that keeps its partitions over a restart (static membership); it leaves the group by its session's end alone.
`ca` is who vouches for the brokers (else: who the system trusts), `cert` and `key` are ours, where brokers ask for them.
"""

import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

MOST_PARTITIONS = 64  # as many as there are lanes
_SECURITY = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_FILES = ("ca", "cert", "key", "key_password")
_KNOWN = ("partitions", "replication", "instance", "security", "mechanism", *_FILES)


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """A parsed URI. `replication` None: three, or as many as there are brokers."""

    servers: tuple[str, ...]
    prefix: str = ""
    partitions: int = 16
    replication: int | None = None
    instance: str | None = None
    security: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    user: str | None = None
    password: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    key_password: str | None = None

    def __repr__(self) -> str:  # without user and password
        return f"KafkaAddress({', '.join(self.servers)}, prefix={self.prefix!r})"

    def options(self) -> dict[str, Any]:
        """What every client of the driver is given. Raises ValueError for files that are no certificates or keys."""
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.servers),
            "security_protocol": self.security,
        }
        if self.security.endswith("SSL"):
            options["ssl_context"] = self._trust()
        if self.security.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        return options

    def _trust(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key, self.key_password)
        except OSError as error:  # also what ssl raises
            raise ValueError(f"the files of certificates cannot be used: {error}") from None
        return context

    def stored(self, name: str) -> str:
        """A topic or group as the cluster knows it."""
        return f"{self.prefix}.{name}" if self.prefix else name


def read_address(uri: str) -> KafkaAddress:
    """Parse a URI. Raises ValueError with every fault in it, and without its password."""
    parts = urlsplit(uri)
    account, _, hosts = parts.netloc.rpartition("@")
    servers = tuple(host for host in hosts.split(",") if host)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    faults = [f"{name} is not known, but {', '.join(_KNOWN)} are" for name in given if name not in _KNOWN]
    if parts.scheme != "kafka" or not servers:
        faults.append("write kafka://host:port")
    faults += [f"{host} needs a port" for host in servers if not host.rpartition(":")[2].isdigit()]
    partitions, replication = given.get("partitions", "16"), given.get("replication")
    if not partitions.isdigit() or int(partitions) not in (1, 2, 4, 8, 16, 32, MOST_PARTITIONS):
        faults.append(f"partitions is a power of two up to {MOST_PARTITIONS}")
    if replication is not None and (not replication.isdigit() or not 1 <= int(replication) <= 9):
        faults.append("replication is a number from 1 to 9")
    user, _, password = account.partition(":")
    security = given.get("security", "SASL_SSL" if account else "PLAINTEXT").upper()
    mechanism = given.get("mechanism", "PLAIN").upper()
    if security not in _SECURITY:
        faults.append(f"security is one of {', '.join(_SECURITY)}")
    elif bool(account) != security.startswith("SASL"):
        faults.append("a user and SASL go together")
    if any(name in given for name in _FILES) and not security.endswith("SSL"):
        faults.append("certificates and SSL go together")
    if ("cert" in given) < ("key" in given):
        faults.append("a key needs its cert")
    if mechanism not in _MECHANISMS:
        faults.append(f"mechanism is one of {', '.join(_MECHANISMS)}")
    if faults:
        raise ValueError("; ".join(faults))
    return KafkaAddress(
        servers,
        prefix=parts.path.strip("/"),
        partitions=int(partitions),
        replication=None if replication is None else int(replication),
        instance=given.get("instance") or None,
        security=security,
        mechanism=mechanism,
        user=unquote(user) or None,
        password=unquote(password) or None,
        **{name: given[name] for name in _FILES if given.get(name)},
    )
