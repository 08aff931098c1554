"""Who may be called is decided by the address a name leads to, in whatever form it is written."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.infra.addresses import is_address
from services.infra.outbound import AddressRefused, Targets, retry_after_ms

PUBLIC = [
    "93.184.216.34",
    "8.8.8.8",
    "1.1.1.1",
    "2606:2800:220:1:248:1893:25c8:1946",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
REFUSED = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.8.9.1", "169.254.169.254"),
    *("169.254.0.1", "168.63.129.16", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1"),
    *("192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "::2", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254"),
    *("fd12:3456::1", "ff02::1", "2001:db8::1", "2001::1", "3fff::1", "100::1", "5f00::1", "4000::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1"),
    *("", "no address", "127.1", "2130706433", "0x7f000001", "017700000001", "127.0.0.1.", "[::1]"),
]


class TestAllowed:
    """allowed: public addresses, and what the operator named."""

    @pytest.mark.parametrize("address", PUBLIC)
    def test_the_open_internet_may_be_called(self, address: str) -> None:
        assert Targets().allowed("api.example.com", 443, address)

    @pytest.mark.parametrize("address", REFUSED)
    def test_every_other_network_may_not(self, address: str) -> None:
        assert not Targets().allowed("api.example.com", 443, address)

    @pytest.mark.parametrize(
        ("entry", "host", "port", "address", "may"),
        [
            ("hooks.internal", "hooks.internal", 80, "10.0.0.5", True),
            ("hooks.internal", "HOOKS.internal.", 443, "10.0.0.5", True),
            ("hooks.internal", "evil.example", 80, "10.0.0.5", False),
            ("hooks.internal", "a.hooks.internal", 80, "10.0.0.5", False),
            ("hooks.internal:8080", "hooks.internal", 8080, "127.0.0.1", True),
            ("hooks.internal:8080", "hooks.internal", 80, "127.0.0.1", False),
            ("10.0.0.0/8", "anything.example", 80, "10.1.2.3", True),
            ("10.0.0.0/8", "anything.example", 80, "::ffff:10.1.2.3", True),
            ("10.0.0.0/8", "anything.example", 80, "192.168.0.1", False),
            ("127.0.0.1", "localhost", 25, "127.0.0.1", True),
            ("127.0.0.1:25", "localhost", 25, "127.0.0.1", True),
            ("127.0.0.1:25", "localhost", 26, "127.0.0.1", False),
            ("::1", "localhost", 25, "::1", True),
            ("[::1]:25", "localhost", 25, "::1", True),
            ("[::1]:25", "localhost", 26, "::1", False),
            ("fd00::/8", "x.example", 80, "fd12::1", True),
            ("fd00::/8", "x.example", 80, "10.0.0.1", False),
            ("hooks.internal", "hooks.internal", 80, "169.254.169.254", False),
            ("169.254.169.254", "169.254.169.254", 80, "169.254.169.254", True),
            ("hooks.internal", "hooks.internal", 80, "224.0.0.1", False),
            ("0.0.0.0/0", "x.example", 80, "0.0.0.0", False),
        ],
    )
    def test_an_entry_opens_what_it_names(self, entry: str, host: str, port: int, address: str, may: bool) -> None:
        """A name opens the private addresses it leads to, but no metadata service; nothing opens multicast or `any`."""
        assert may == Targets([entry]).allowed(host, port, address)

    @settings(deadline=None)
    @given(st.ip_addresses(v=4))
    def test_a_wrapped_address_is_judged_as_what_it_wraps(self, address: ipaddress.IPv4Address) -> None:
        may = Targets().allowed("x.example", 80, str(address))

        wrapped = int(address)
        assert may == Targets().allowed("x.example", 80, f"::ffff:{address}")
        assert may == Targets().allowed("x.example", 80, str(ipaddress.IPv6Address((0x64FF9B << 96) | wrapped)))
        assert may == Targets().allowed("x.example", 80, str(ipaddress.IPv6Address((0x2002 << 112) | (wrapped << 80))))

    @settings(deadline=None)
    @given(st.ip_addresses())
    def test_nothing_that_python_calls_private_is_public(
        self, address: ipaddress.IPv4Address | ipaddress.IPv6Address
    ) -> None:
        wraps = isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or address.sixtofour)
        closed = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
        assert not (closed and not wraps and Targets().allowed("x.example", 80, str(address)))

    @pytest.mark.parametrize("text", ["127.1", "0x7f000001", "2130706433", "017700000001", "localhost", "127.0.0.1."])
    def test_a_short_form_is_a_name(self, text: str) -> None:
        """So it is looked up, and what it leads to is judged."""
        assert not is_address(text)


def answering(*answers: Sequence[str]) -> tuple[Targets, list[str]]:
    """Targets over a name server that answers one after the other."""
    asked: list[str] = []

    async def lookup(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return Targets(["10.0.0.0/8"], lookup), asked


class TestAddresses:
    """addresses: of what a name leads to, only what may be called."""

    async def test_only_permitted_answers_are_used(self) -> None:
        targets, _ = answering(["127.0.0.1", "93.184.216.34", "169.254.169.254", "10.1.1.1", "93.184.216.34"])

        assert ["93.184.216.34", "10.1.1.1"] == await targets.addresses("mixed.example", 443)

    async def test_a_name_that_changes_its_mind_is_judged_each_time(self) -> None:
        """Rebinding: public when looked at first, private when it is connected to."""
        targets, asked = answering(["93.184.216.34"], ["127.0.0.1"])

        assert ["93.184.216.34"] == await targets.addresses("rebind.example", 80)
        with pytest.raises(AddressRefused, match="is no public address"):
            await targets.addresses("rebind.example", 80)
        assert 2 == len(asked)

    async def test_a_literal_is_judged_without_asking(self) -> None:
        targets, asked = answering(["93.184.216.34"])

        with pytest.raises(AddressRefused):
            await targets.addresses("127.0.0.1", 80)
        assert not asked

    async def test_a_name_without_address_is_no_refusal(self) -> None:
        targets, _ = answering([])

        with pytest.raises(socket.gaierror):
            await targets.addresses("nowhere.example", 80)

    @pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "017700000001", "localhost"])
    async def test_the_systems_short_forms_lead_to_a_refusal(self, host: str) -> None:
        """What the system's resolver makes of a number is an address like any other."""
        targets = Targets()
        with pytest.raises(AddressRefused):
            await targets.addresses(host, 80)
        targets.close()


class TestConnect:
    """connect: a socket for protocols that are not HTTP."""

    async def test_the_next_address_is_tried(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]

        async def lookup(host: str, port: int) -> Sequence[str]:
            return ["::1", "127.0.0.2", "127.0.0.1"]

        with listener, await Targets(["127.0.0.1", "127.0.0.2"], lookup).connect("mail.example", port) as connection:
            assert ("127.0.0.1", port) == connection.getpeername()

    async def test_a_refused_address_sees_no_connection(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(0.05)
            with pytest.raises(AddressRefused):
                await Targets().connect("127.0.0.1", listener.getsockname()[1])
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(listener.accept)


class TestRetryAfter:
    """retry_after_ms: seconds or a date."""

    @pytest.mark.parametrize(
        ("headers", "ms"),
        [
            ({}, None),
            ({"Retry-After": "120"}, 120_000),
            ({"Retry-After": " 0 "}, 0),
            ({"Retry-After": "9" * 400}, 999_999_999_000),
            ({"Retry-After": "-1"}, None),
            ({"Retry-After": "soon"}, None),
            ({"Retry-After": "١٢"}, None),
            ({"Retry-After": "Thu, 30 Apr 2026 13:00:30 GMT", "Date": "Thu, 30 Apr 2026 13:00:00 GMT"}, 30_000),
            ({"Retry-After": "Thu, 30 Apr 2020 13:00:30 GMT"}, 0),
            ({"Retry-After": "Thu, 99 Apr 2026 13:00:30 GMT"}, None),
        ],
    )
    def test_what_is_asked_is_read(self, headers: dict[str, str], ms: int | None) -> None:
        assert ms == retry_after_ms(headers)
