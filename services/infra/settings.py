"""What a process is told from outside: environment variables, secret files, and options of the command.

Law: a configuration is read once, at start, and all that is wrong with it is said at once. A secret is in no
repr, no message and no output of `effective`.

An option given to `load` overrules the environment, the environment overrules a file in JOURNEYS_SECRETS_DIR
(named like the variable, in any case). An empty variable counts as absent.
"""

import ipaddress
import os
import re
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from services.domain.times import BadDuration, parse_duration

PREFIX: Final = "JOURNEYS_"
HIDDEN: Final = "***"

_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
_LISTEN = re.compile(rf"unix:/.+|{_HOST}:[0-9]{{1,5}}")
_PEER = re.compile(rf"unix:/.+|(?:dns:///)?{_HOST}:[0-9]{{1,5}}")
_TARGET = re.compile(rf"{_HOST}(?::[0-9]{{1,5}})?")
_COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]+")  # cookie-octet of RFC 6265, section 4.1.1


class SettingsInvalid(Exception):
    """The configuration cannot be used; `lines` names each variable and what is wrong with it."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def _listed(value: Any) -> Any:
    return tuple(part for part in map(str.strip, value.split(",")) if part) if isinstance(value, str) else value


def _length(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"[0-9]{1,12}", value):
        return timedelta(seconds=int(value))
    try:
        return timedelta(milliseconds=parse_duration(value))
    except BadDuration:
        raise ValueError("is no length of time: write seconds (604800) or ISO 8601 (P7D)") from None


def _one_of(what: str, *schemes: str) -> AfterValidator:
    def checked(value: str) -> str:
        if value in ("embedded", "memory") or (value.startswith(schemes) and urlsplit(value).netloc):
            return value
        raise ValueError(f"is no {what}: embedded, memory, or {' or '.join(scheme + '...' for scheme in schemes)}")

    return AfterValidator(checked)


def _address(pattern: re.Pattern[str], example: str) -> AfterValidator:
    def checked(value: str) -> str:
        port = value.rpartition(":")[2]
        if not pattern.fullmatch(value) or (not value.startswith("unix:") and int(port) > 65_535):
            raise ValueError(f"is no address: write {example} or unix:/path")
        return value

    return AfterValidator(checked)


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _file(value: Path) -> Path:
    if not value.is_file():
        raise ValueError("is no file")
    return value


def _certificates(value: Path) -> Path:
    try:
        ssl.create_default_context(cafile=_file(value))
    except OSError:  # also what ssl raises
        raise ValueError("is no file of certificates (PEM)") from None
    return value


def _store_files(value: str) -> str:
    """The files that a URI of MongoDB names, by its driver's options."""
    query = dict(parse_qsl(urlsplit(value).query))
    for option, check in (("tlsCAFile", _certificates), ("tlsCertificateKeyFile", _file)):
        if option in query:
            try:
                check(Path(query[option]))
            except ValueError as error:
                raise ValueError(f"{option} {error}") from None
    return value


def _host(value: str) -> str:
    if not re.fullmatch(_HOST, value):
        raise ValueError("is no host: write 0.0.0.0, [::] or a name of this machine")
    return value


def _target(value: str) -> str:
    try:
        if "/" in value:
            return str(ipaddress.ip_network(value, strict=False))
        if value.count(":") > 1 and not value.startswith("["):
            return str(ipaddress.IPv6Address(value))
    except ValueError:
        raise ValueError("is no address range") from None
    if not _TARGET.fullmatch(value):
        raise ValueError("is no host, host:port or address range")
    return value


def _public(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("is no address of a site: write https://journeys.example.com")
    return value.rstrip("/")


def _token(value: SecretStr) -> SecretStr:
    if not _COOKIE_VALUE.fullmatch(value.get_secret_value()):
        raise ValueError("has characters that a cookie cannot carry")
    return value


Store = Annotated[str, _one_of("document store", "mongodb://", "mongodb+srv://"), AfterValidator(_store_files)]
Log = Annotated[str, _one_of("event log", "kafka://")]
Listen = Annotated[str, _address(_LISTEN, "127.0.0.1:50051")]
Peer = Annotated[str, _address(_PEER, "authoring:50051")]
Port = Annotated[int, Field(ge=0, le=65_535)]


class _Settings(BaseSettings):
    """What every process is told."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, populate_by_name=True
    )

    data_dir: Annotated[Path, AfterValidator(Path.expanduser)] = Path(".journeys")
    store: Store = Field("embedded", repr=False)  # a URI may hold a password
    log: Log = Field("embedded", repr=False)
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lambda v: v.lower())] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    allow_private_hosts: Annotated[
        tuple[Annotated[str, AfterValidator(_target)], ...], NoDecode, BeforeValidator(_listed)
    ] = ()
    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] | None = None
    kafka_security_protocol: (
        Annotated[Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], BeforeValidator(_upper)] | None
    ) = None
    kafka_sasl_mechanism: (
        Annotated[Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], BeforeValidator(_upper)] | None
    ) = None
    kafka_username: str | None = None
    kafka_password: SecretStr | None = None
    kafka_ca_file: Annotated[Path, AfterValidator(_certificates)] | None = None
    kafka_cert_file: Annotated[Path, AfterValidator(_file)] | None = None
    kafka_key_file: Annotated[Path, AfterValidator(_file)] | None = None
    kafka_key_password: SecretStr | None = None
    bootstrap_token: Annotated[SecretStr, AfterValidator(_token)] | None = None
    session_ttl: Annotated[timedelta, BeforeValidator(_length), Field(ge=timedelta(seconds=1))] = timedelta(days=7)
    public_url: Annotated[str, AfterValidator(_public)] | None = None

    @classmethod
    def load(cls, **given: Any) -> Self:
        """The settings of this process; `given` are options by field name, None where not given.

        Raises SettingsInvalid with every fault.
        """
        names = {name: str(field.validation_alias or name) for name, field in cls.model_fields.items()}
        options: dict[str, Any] = {names.get(name, name): it for name, it in given.items() if it is not None}
        secrets = os.environ.get(PREFIX + "SECRETS_DIR") or None
        if secrets is not None and not Path(secrets).is_dir():
            raise SettingsInvalid([f"{PREFIX}SECRETS_DIR: there is no directory {secrets!r}"])
        if secrets is not None:
            options["_secrets_dir"] = secrets
        try:
            return cls(**options)
        except ValidationError as error:
            lines = [line for fault in error.errors() for line in _line(cls, fault).splitlines()]
            raise SettingsInvalid(lines) from None
        except SettingsError as error:
            raise SettingsInvalid([str(error)]) from None

    @model_validator(mode="after")
    def _one_file(self) -> Self:
        if {self.store, self.log} == {"embedded", "memory"}:
            raise ValueError(f"{PREFIX}STORE and {PREFIX}LOG: embedded and memory do not go together")
        return self

    @model_validator(mode="after")
    def _kafka(self) -> Self:
        if lines := list(self._kafka_faults()):
            raise ValueError("\n".join(lines))
        return self

    def _kafka_faults(self) -> Iterator[str]:
        given = [name for name in _KAFKA if getattr(self, name) is not None]
        if not given:
            return
        named = {name: PREFIX + name.upper() for name in _KAFKA}
        if not self.log.startswith("kafka://"):
            yield f"{', '.join(named[name] for name in given)}: the log is no kafka://..."
            return
        if (self.kafka_username is None) != (self.kafka_password is None):
            yield f"{named['kafka_username']} and {named['kafka_password']}: one without the other"
        if self.kafka_key_file is not None and self.kafka_cert_file is None:
            yield f"{named['kafka_key_file']}: a key needs its {named['kafka_cert_file']}"
        if self.kafka_cert_file is not None:
            secret = self.kafka_key_password
            try:
                ssl.create_default_context().load_cert_chain(
                    self.kafka_cert_file, self.kafka_key_file, (secret.get_secret_value() if secret else "").encode()
                )
            except OSError:  # also what ssl raises
                yield f"{named['kafka_cert_file']}: with its key and password it is no certificate of ours (PEM)"
        protocol = self.kafka_security_protocol
        has_account = self.kafka_username is not None or "@" in urlsplit(self.log).netloc
        if protocol is not None and protocol.startswith("SASL") != has_account:
            yield f"{named['kafka_security_protocol']}: SASL and {named['kafka_username']} go together"

    @property
    def log_address(self) -> str:
        """The log, with what other settings say about it: a URI that holds secrets. They overrule its own members."""
        if not self.log.startswith("kafka://"):
            return self.log
        parts = urlsplit(self.log)
        account, at, hosts = parts.netloc.rpartition("@")
        if self.kafka_username is not None and self.kafka_password is not None:
            secret = self.kafka_password.get_secret_value()
            account, at = f"{quote(self.kafka_username, safe='')}:{quote(secret, safe='')}", "@"
        members: dict[str, object] = {
            "instance": self.instance,
            "security": self.kafka_security_protocol or self._implied(bool(account)),
            "mechanism": self.kafka_sasl_mechanism,
            "ca": self.kafka_ca_file,
            "cert": self.kafka_cert_file,
            "key": self.kafka_key_file,
            "key_password": self.kafka_key_password.get_secret_value() if self.kafka_key_password else None,
        }
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        query |= {name: str(value) for name, value in members.items() if value is not None}
        return urlunsplit(parts._replace(netloc=f"{account}{at}{hosts}", query=urlencode(query)))

    def _implied(self, has_account: bool) -> str | None:
        """SSL where a certificate is named and nobody says how to talk to the brokers."""
        is_said = "security=" in urlsplit(self.log).query
        return "SSL" if not is_said and not has_account and (self.kafka_ca_file or self.kafka_cert_file) else None


_KAFKA = (
    "kafka_security_protocol",
    "kafka_sasl_mechanism",
    "kafka_username",
    "kafka_password",
    "kafka_ca_file",
    "kafka_cert_file",
    "kafka_key_file",
    "kafka_key_password",
)


class _HttpSettings(_Settings):
    """What whoever serves HTTP is told."""

    http_host: str = "127.0.0.1"
    http_port: Port = 8080
    sync_api_key: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_listed)] = Field(
        (), validation_alias="SYNC_API_KEY"
    )


class ServeSettings(_HttpSettings):
    """`journeys serve`: everything in one process; with `--only` some of it, and then the addresses count.

    A part that runs here listens on `listen_host` at the port of its own address; the others are reached at theirs.
    """

    dev_clock: bool = False
    listen_host: Annotated[str, AfterValidator(_host)] = "127.0.0.1"
    authoring_address: Peer = "127.0.0.1:50051"
    runtime_address: Peer = "127.0.0.1:50052"
    analytics_address: Peer = "127.0.0.1:50053"


class ServiceSettings(_Settings):
    """One service as a process of its own: where it listens and where the others are."""

    listen: Listen = "127.0.0.1:0"
    authoring_address: Peer = "127.0.0.1:50051"
    runtime_address: Peer = "127.0.0.1:50052"
    analytics_address: Peer = "127.0.0.1:50053"


class AuthoringSettings(ServiceSettings):
    """`python -m services.authoring`."""

    listen: Listen = "127.0.0.1:50051"


class RuntimeSettings(ServiceSettings):
    """`python -m services.runtime`."""

    listen: Listen = "127.0.0.1:50052"


class AnalyticsSettings(ServiceSettings):
    """`python -m services.analytics`."""

    listen: Listen = "127.0.0.1:50053"


class GatewaySettings(_HttpSettings):
    """`python -m gateway`."""

    authoring_address: Peer = "127.0.0.1:50051"
    runtime_address: Peer = "127.0.0.1:50052"
    analytics_address: Peer = "127.0.0.1:50053"


def effective(settings: _Settings) -> dict[str, Any]:
    """Each variable and the value in force, fit for JSON; secrets and passwords are `***`."""
    return {_variable(type(settings), name): _shown(value) for name, value in settings}


def _variable(cls: type[BaseSettings], name: str) -> str:
    field = cls.model_fields.get(name)
    return str(field.validation_alias) if field is not None and field.validation_alias else PREFIX + name.upper()


def _line(cls: type[BaseSettings], fault: Any) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return str(message)
    name = str(fault["loc"][0])
    known = name in cls.model_fields
    shown = f" (it is {fault['input']!r})" if known and name not in _UNSHOWN and isinstance(fault["input"], str) else ""
    return f"{_variable(cls, name) if known else name}: {message}{shown}"


# Never repeated in a fault: secrets, and addresses that may hold a password.
_UNSHOWN = frozenset(
    {"bootstrap_token", "sync_api_key", "store", "log", "public_url", "kafka_password", "kafka_key_password"}
)


def _shown(value: Any) -> Any:
    match value:
        case SecretStr():
            return HIDDEN
        case tuple():
            return [_shown(item) for item in value]
        case timedelta():
            return f"PT{value.total_seconds():g}S" if value % timedelta(days=1) else f"P{value.days}D"
        case Path():
            return str(value)
        case str() if "://" in value:
            parts = urlsplit(value)
            host = parts.netloc.rpartition("@")
            query = re.sub(r"(?i)((?:password|secret|token|key)[^=&]*=)[^&]*", rf"\g<1>{HIDDEN}", parts.query)
            return urlunsplit(parts._replace(netloc=f"{HIDDEN}@{host[2]}" if host[1] else host[2], query=query))
        case _:
            return value
