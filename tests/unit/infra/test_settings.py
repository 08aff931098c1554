"""A configuration is read once, checked whole, and shown without its secrets."""

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from services.infra.log.kafka_address import KafkaAddress, read_address
from services.infra.settings import (
    AnalyticsSettings,
    AuthoringSettings,
    GatewaySettings,
    RuntimeSettings,
    ServeSettings,
    ServiceSettings,
    SettingsInvalid,
    effective,
)
from tests.support.certificates import Authority

ALL = [ServeSettings, AuthoringSettings, RuntimeSettings, AnalyticsSettings, GatewaySettings]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("JOURNEYS_") or name == "SYNC_API_KEY":
            monkeypatch.delenv(name)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


def faults(settings: type[Any] = ServeSettings, **given: Any) -> list[str]:
    with pytest.raises(SettingsInvalid) as caught:
        settings.load(**given)
    return caught.value.lines


class TestLoad:
    """load: defaults, environment, files, options."""

    def test_nothing_has_to_be_set(self) -> None:
        """A newcomer's server: embedded, on the loopback, no private hosts, no dev clock."""
        settings = ServeSettings.load()

        assert ("127.0.0.1", 8080, Path(".journeys"), "embedded", "embedded", (), False, timedelta(days=7)) == (
            settings.http_host,
            settings.http_port,
            settings.data_dir,
            settings.store,
            settings.log,
            settings.sync_api_key,
            settings.dev_clock,
            settings.session_ttl,
        )

    def test_the_environment_is_read(self, env: Any) -> None:
        """Each variable of the contract."""
        env(
            JOURNEYS_HTTP_PORT="0",
            JOURNEYS_HTTP_HOST="0.0.0.0",
            JOURNEYS_DATA_DIR="/var/lib/journeys",
            JOURNEYS_STORE="mongodb://h1,h2/db",
            JOURNEYS_LOG="kafka://h1:9092,h2:9092",
            JOURNEYS_DEV_CLOCK="1",
            JOURNEYS_SESSION_TTL="PT12H",
            JOURNEYS_PUBLIC_URL="https://journeys.example.com/",
            JOURNEYS_LOG_LEVEL="DEBUG",
            JOURNEYS_LOG_FORMAT="json",
            JOURNEYS_ALLOW_PRIVATE_HOSTS="localhost:2525, 10.0.0.0/8,mail.internal,::1,[::1]:25",
        )
        settings = ServeSettings.load()

        assert (0, "0.0.0.0", Path("/var/lib/journeys"), "mongodb://h1,h2/db", "kafka://h1:9092,h2:9092", True) == (
            settings.http_port,
            settings.http_host,
            settings.data_dir,
            settings.store,
            settings.log,
            settings.dev_clock,
        )
        assert (timedelta(hours=12), "https://journeys.example.com", "debug", "json") == (
            settings.session_ttl,
            settings.public_url,
            settings.log_level,
            settings.log_format,
        )
        assert ("localhost:2525", "10.0.0.0/8", "mail.internal", "::1", "[::1]:25") == settings.allow_private_hosts

    def test_options_overrule_the_environment(self, env: Any) -> None:
        """A given None is an option that was not given."""
        env(JOURNEYS_HTTP_PORT="1", JOURNEYS_DATA_DIR="/a")
        settings = ServeSettings.load(http_port=2, data_dir=None)

        assert (2, Path("/a")) == (settings.http_port, settings.data_dir)

    def test_an_option_overrules_a_variable_with_a_name_of_its_own(self, env: Any) -> None:
        """SYNC_API_KEY is called sync_api_key in options."""
        env(SYNC_API_KEY="a")

        assert ("b",) == tuple(key.get_secret_value() for key in ServeSettings.load(sync_api_key="b").sync_api_key)

    def test_several_keys_may_be_active(self, env: Any) -> None:
        """Comma separated, blanks and empty parts ignored."""
        env(SYNC_API_KEY="one, two,,")

        assert ("one", "two") == tuple(key.get_secret_value() for key in ServeSettings.load().sync_api_key)

    def test_an_empty_variable_is_absent(self, env: Any) -> None:
        """Compose files and shells set variables to nothing."""
        env(SYNC_API_KEY="", JOURNEYS_HTTP_PORT="", JOURNEYS_BOOTSTRAP_TOKEN="", JOURNEYS_SECRETS_DIR="")
        settings = ServeSettings.load()

        assert ((), 8080, None) == (settings.sync_api_key, settings.http_port, settings.bootstrap_token)

    def test_secrets_may_lie_in_files(self, env: Any, tmp_path: Path) -> None:
        """As orchestrators mount them; the environment overrules them."""
        (tmp_path / "sync_api_key").write_text("from-file\n")
        (tmp_path / "JOURNEYS_BOOTSTRAP_TOKEN").write_text("token-from-file")
        env(JOURNEYS_SECRETS_DIR=str(tmp_path))
        settings = ServeSettings.load()

        assert ((SecretStr("from-file"),), SecretStr("token-from-file")) == (
            settings.sync_api_key,
            settings.bootstrap_token,
        )

    @pytest.mark.parametrize(("text", "days"), [("604800", 7), ("P1W", 7), ("P30D", 30)])
    def test_a_length_is_seconds_or_iso(self, env: Any, text: str, days: int) -> None:
        """Both forms of JOURNEYS_SESSION_TTL."""
        env(JOURNEYS_SESSION_TTL=text)

        assert timedelta(days=days) == ServeSettings.load().session_ttl

    @pytest.mark.parametrize(
        ("settings", "port"), [(AuthoringSettings, 50051), (RuntimeSettings, 50052), (AnalyticsSettings, 50053)]
    )
    def test_each_service_has_its_port(self, settings: type[ServiceSettings], port: int) -> None:
        """And knows where the others are by default."""
        loaded = settings.load()

        assert f"127.0.0.1:{port}" == loaded.listen
        assert ("127.0.0.1:50051", "127.0.0.1:50052", "127.0.0.1:50053") == (
            loaded.authoring_address,
            loaded.runtime_address,
            loaded.analytics_address,
        )

    def test_addresses_may_be_sockets_names_or_ports(self, env: Any) -> None:
        """What gRPC takes and we support."""
        env(
            JOURNEYS_AUTHORING_ADDRESS="unix:/run/a.sock",
            JOURNEYS_RUNTIME_ADDRESS="dns:///runtime:50052",
            JOURNEYS_ANALYTICS_ADDRESS="[::1]:50053",
            JOURNEYS_LISTEN="0.0.0.0:1",
        )

        assert "0.0.0.0:1" == RuntimeSettings.load().listen
        assert "dns:///runtime:50052" == GatewaySettings.load().runtime_address

    def test_settings_do_not_change(self) -> None:
        """They are read once."""
        with pytest.raises(ValueError, match="frozen"):
            ServeSettings.load().http_port = 1


class TestFaults:
    """SettingsInvalid."""

    def test_all_faults_are_told_at_once(self, env: Any) -> None:
        """One line each, beginning with the variable."""
        env(
            JOURNEYS_HTTP_PORT="eighty",
            JOURNEYS_STORE="postgres://x",
            JOURNEYS_SESSION_TTL="P1M",
            JOURNEYS_LOG_LEVEL="chatty",
            JOURNEYS_ALLOW_PRIVATE_HOSTS="10.0.0.0/99,a b",
            JOURNEYS_PUBLIC_URL="example.com",
            JOURNEYS_DEV_CLOCK="perhaps",
        )
        names = [line.partition(":")[0] for line in faults()]

        assert [
            "JOURNEYS_ALLOW_PRIVATE_HOSTS",
            "JOURNEYS_ALLOW_PRIVATE_HOSTS",
            "JOURNEYS_DEV_CLOCK",
            "JOURNEYS_HTTP_PORT",
            "JOURNEYS_LOG_LEVEL",
            "JOURNEYS_PUBLIC_URL",
            "JOURNEYS_SESSION_TTL",
            "JOURNEYS_STORE",
        ] == sorted(names)

    def test_a_fault_shows_the_value(self, env: Any) -> None:
        """So that a typing error is seen."""
        env(JOURNEYS_HTTP_PORT="eighty")

        assert "'eighty'" in faults()[0]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("JOURNEYS_BOOTSTRAP_TOKEN", "pass word"),
            ("JOURNEYS_STORE", "mongo://u:password@h"),
            ("JOURNEYS_LOG", "rabbit://u:password@h"),
            ("JOURNEYS_PUBLIC_URL", "https://u:password@h"),
        ],
    )
    def test_a_fault_never_shows_a_secret(self, env: Any, name: str, value: str) -> None:
        """Nor an address that may hold a password."""
        env(**{name: value})
        text = "\n".join(faults())

        assert text.startswith(name)
        assert "word" not in text

    @pytest.mark.parametrize("address", ["nowhere", "host:", "host:99999", "http://host:1", "host:1/path", ""])
    def test_an_address_is_checked(self, address: str) -> None:
        """A peer that cannot be dialled is a fault at start, not later."""
        assert faults(GatewaySettings, authoring_address=address)[0].startswith("JOURNEYS_AUTHORING_ADDRESS: is no")

    @pytest.mark.parametrize("ttl", ["0", "PT0S", "-5", "soon"])
    def test_a_session_lives_for_some_time(self, env: Any, ttl: str) -> None:
        """Zero and negative lengths are refused."""
        env(JOURNEYS_SESSION_TTL=ttl)

        assert 1 == len(faults())

    @pytest.mark.parametrize("uri", ["mongodb://", "mongodb:host", "sqlite:///x", "Embedded"])
    def test_a_store_is_one_that_we_have(self, uri: str) -> None:
        """embedded, memory or MongoDB, with a host."""
        assert faults(store=uri)[0].startswith("JOURNEYS_STORE: is no document store")

    def test_embedded_and_memory_do_not_go_together(self) -> None:
        """Store and log are one file, or none."""
        assert ["JOURNEYS_STORE and JOURNEYS_LOG: embedded and memory do not go together"] == faults(store="memory")

    def test_an_option_that_does_not_exist_is_a_fault(self) -> None:
        """A misspelt keyword is told, not dropped."""
        assert faults(htpp_port=1)[0].startswith("htpp_port: ")

    def test_a_missing_directory_of_secrets_is_a_fault(self, env: Any) -> None:
        """Rather than a server without its keys."""
        env(JOURNEYS_SECRETS_DIR="/nowhere/at/all")

        assert ["JOURNEYS_SECRETS_DIR: there is no directory '/nowhere/at/all'"] == faults()


class TestKafka:
    """Who we are for the brokers, and whom we trust: settings of their own, so that no URI has to hold a secret."""

    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path, "authority")

    def test_they_become_one_address(self, env: Any, authority: Authority) -> None:
        """Whatever stands in the password; what the URI says besides stays."""
        cert, key = authority.issue("client", "open")
        env(
            JOURNEYS_LOG="kafka://one:1,two:2/prod?partitions=4",
            JOURNEYS_INSTANCE="runtime-0",
            JOURNEYS_KAFKA_SECURITY_PROTOCOL="sasl_ssl",
            JOURNEYS_KAFKA_SASL_MECHANISM="scram-sha-512",
            JOURNEYS_KAFKA_USERNAME="ann@x",
            JOURNEYS_KAFKA_PASSWORD="p:w/@&?",
            JOURNEYS_KAFKA_CA_FILE=str(authority.file),
            JOURNEYS_KAFKA_CERT_FILE=str(cert),
            JOURNEYS_KAFKA_KEY_FILE=str(key),
            JOURNEYS_KAFKA_KEY_PASSWORD="open",
        )

        found = read_address(RuntimeSettings.load(store="mongodb://h/x").log_address)

        assert (
            KafkaAddress(
                ("one:1", "two:2"),
                prefix="prod",
                partitions=4,
                instance="runtime-0",
                security="SASL_SSL",
                mechanism="SCRAM-SHA-512",
                user="ann@x",
                password="p:w/@&?",
                ca=str(authority.file),
                cert=str(cert),
                key=str(key),
                key_password="open",
            )
            == found
        )

    def test_they_overrule_the_address(self, env: Any) -> None:
        """Member by member."""
        env(JOURNEYS_KAFKA_USERNAME="ann", JOURNEYS_KAFKA_PASSWORD="new", JOURNEYS_INSTANCE="b")

        found = read_address(
            RuntimeSettings.load(store="mongodb://h/x", log="kafka://ben:old@h:1?instance=a").log_address
        )

        assert ("ann", "new", "b", "SASL_SSL") == (found.user, found.password, found.instance, found.security)

    def test_a_certificate_alone_means_ssl(self, authority: Authority) -> None:
        """Nobody names an authority for nothing."""
        told = RuntimeSettings.load(store="mongodb://h/x", log="kafka://h:1", kafka_ca_file=authority.file)

        assert "SSL" == read_address(told.log_address).security

    def test_without_them_the_address_is_as_it_was(self) -> None:
        """An embedded log has none."""
        assert ["embedded", "kafka://h:1?partitions=4"] == [
            RuntimeSettings.load().log_address,
            RuntimeSettings.load(store="mongodb://h/x", log="kafka://h:1?partitions=4").log_address,
        ]

    def test_every_fault_is_said_at_once(self, env: Any, tmp_path: Path) -> None:
        """Files that are none, a mechanism that nobody knows, a name that is no word of a member."""
        garbage = tmp_path / "ca.pem"
        garbage.write_text("no certificate")
        env(
            JOURNEYS_KAFKA_SECURITY_PROTOCOL="TLS",
            JOURNEYS_KAFKA_SASL_MECHANISM="GSSAPI",
            JOURNEYS_KAFKA_CA_FILE=str(garbage),
            JOURNEYS_KAFKA_CERT_FILE="/nowhere/client.pem",
            JOURNEYS_INSTANCE="a b",
        )

        found = faults(store="mongodb://h/x", log="kafka://h:1")

        assert [
            "JOURNEYS_INSTANCE",
            "JOURNEYS_KAFKA_SECURITY_PROTOCOL",
            "JOURNEYS_KAFKA_SASL_MECHANISM",
            "JOURNEYS_KAFKA_CA_FILE",
            "JOURNEYS_KAFKA_CERT_FILE",
        ] == [line.partition(":")[0] for line in found]

    def test_what_does_not_go_together_is_said_at_once(self, authority: Authority, tmp_path: Path) -> None:
        """A name without a password, a certificate without its key, SASL without a name."""
        cert, _ = authority.issue("client")
        found = faults(
            log="kafka://h:1",
            store="mongodb://h/x",
            kafka_username="ann",
            kafka_security_protocol="SSL",
            kafka_cert_file=cert,
        )

        assert ["JOURNEYS_KAFKA_USERNAME", "JOURNEYS_KAFKA_CERT_FILE", "JOURNEYS_KAFKA_SECURITY_PROTOCOL"] == [
            line.partition(":")[0].partition(" ")[0] for line in found
        ]

    def test_they_need_a_broker(self) -> None:
        """With an embedded log they would mean nothing."""
        assert ["JOURNEYS_KAFKA_PASSWORD: the log is no kafka://..."] == faults(kafka_password="hush")

    def test_a_password_is_nowhere(self, env: Any, tmp_path: Path) -> None:
        """By reference: a file of the secrets' directory. Neither shown, nor in a repr, nor in a fault."""
        (tmp_path / "journeys_kafka_password").write_text("hush-1")
        env(JOURNEYS_SECRETS_DIR=str(tmp_path), JOURNEYS_KAFKA_USERNAME="ann", JOURNEYS_KAFKA_KEY_PASSWORD="hush-2")
        told = RuntimeSettings.load(store="mongodb://h/x", log="kafka://h:1")
        shown = effective(told)

        assert "hush-1" in told.log_address
        assert "hush" not in f"{told!r}{json.dumps(shown)}"
        assert ("***", "***", "ann") == tuple(
            shown[f"JOURNEYS_KAFKA_{name}"] for name in ("PASSWORD", "KEY_PASSWORD", "USERNAME")
        )


class TestMongoFiles:
    """Files that a URI of MongoDB names by its driver's options."""

    @pytest.mark.parametrize("option", ["tlsCAFile", "tlsCertificateKeyFile"])
    def test_one_that_is_not_there_is_a_fault_of_the_configuration(self, option: str) -> None:
        """Said at the start with the others, not by the first call."""
        (line,) = faults(store=f"mongodb://h/x?tls=true&{option}=/nowhere/ca.pem")
        assert line.startswith(f"JOURNEYS_STORE: {option} is no file")

    def test_one_that_is_no_certificate_is_too(self, tmp_path: Path) -> None:
        """The password of the URI is not repeated."""
        (tmp_path / "ca.pem").write_text("no certificate")

        (line,) = faults(store=f"mongodb://ann:hush@h/x?tls=true&tlsCAFile={tmp_path}/ca.pem")

        assert "JOURNEYS_STORE: tlsCAFile is no file of certificates (PEM)" == line

    def test_one_that_is_good_passes_through(self, tmp_path: Path) -> None:
        """It is the driver's to use."""
        uri = f"mongodb://h/x?tls=true&tlsCAFile={Authority(tmp_path, 'authority').file}"

        assert uri == RuntimeSettings.load(store=uri).store


class TestShown:
    """repr and effective."""

    @pytest.fixture
    def secretive(self, env: Any) -> ServeSettings:
        env(
            SYNC_API_KEY="hush-1,hush-2",
            JOURNEYS_BOOTSTRAP_TOKEN="hush-3",
            JOURNEYS_STORE="mongodb://user:hush-4@h1,h2/db?tlsCertificateKeyFilePassword=hush-5&w=majority",
            JOURNEYS_LOG="kafka://user:hush-6@h1:9092",
        )
        return ServeSettings.load()

    def test_no_secret_is_in_the_repr(self, secretive: ServeSettings) -> None:
        """Nor in str, nor in what a formatter makes of it."""
        assert "hush" not in f"{secretive!r}{secretive}"

    def test_no_secret_is_in_effective(self, secretive: ServeSettings) -> None:
        """`journeys config check` can be pasted into an issue."""
        shown = effective(secretive)

        assert "hush" not in json.dumps(shown)
        assert ["***", "***"] == shown["SYNC_API_KEY"]
        assert "mongodb://***@h1,h2/db?tlsCertificateKeyFilePassword=***&w=majority" == shown["JOURNEYS_STORE"]

    @pytest.mark.parametrize("settings", ALL)
    def test_effective_names_every_variable_and_fits_json(self, settings: type[Any]) -> None:
        """A variable for each field."""
        loaded = settings.load()
        shown = effective(loaded)

        assert len(type(loaded).model_fields) == len(json.loads(json.dumps(shown)))
        assert all(name.startswith("JOURNEYS_") or name == "SYNC_API_KEY" for name in shown)

    def test_lengths_are_shown_as_they_may_be_written(self) -> None:
        """Days as days, the rest as seconds."""
        assert "P7D" == effective(ServeSettings.load())["JOURNEYS_SESSION_TTL"]
        assert "PT5400S" == effective(ServeSettings.load(session_ttl="PT1H30M"))["JOURNEYS_SESSION_TTL"]
