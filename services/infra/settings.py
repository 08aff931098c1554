"""What a process is told from outside: environment variables, secret files, and options of the command.

Law: a configuration is read once, at start, and all that is wrong with it is said at once. A secret is in no
repr, no message and no output of `effective`.

An option given to `load` overrules the environment, the environment overrules a file in JOURNEYS_SECRETS_DIR
(named like the variable, in any case). An empty variable counts as absent.
"""

import ipaddress
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit

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


Store = Annotated[str, _one_of("document store", "mongodb://", "mongodb+srv://")]
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
            raise SettingsInvalid([_line(cls, fault) for fault in error.errors()]) from None
        except SettingsError as error:
            raise SettingsInvalid([str(error)]) from None

    @model_validator(mode="after")
    def _one_file(self) -> Self:
        if {self.store, self.log} == {"embedded", "memory"}:
            raise ValueError(f"{PREFIX}STORE and {PREFIX}LOG: embedded and memory do not go together")
        return self


class _HttpSettings(_Settings):
    """What whoever serves HTTP is told."""

    http_host: str = "127.0.0.1"
    http_port: Port = 8080
    sync_api_key: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_listed)] = Field(
        (), validation_alias="SYNC_API_KEY"
    )


class ServeSettings(_HttpSettings):
    """`journeys serve`: everything in one process."""

    dev_clock: bool = False


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
_UNSHOWN = frozenset({"bootstrap_token", "sync_api_key", "store", "log", "public_url"})


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
