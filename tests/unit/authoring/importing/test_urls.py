"""URLs that a bundle may bring, and those it may not."""

import pytest

from services.authoring.bundles.urls import url_fault


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com:8443/a?b=c#d",
        "HTTPS://Hooks.Example.COM./x",
        "https://hooks.example.com/{{ subject.endUserId }}",
        "https://1.1.1.1/x",
        "https://[2606:4700:4700::1111]/x",
        "https://bücher.example/x",
    ],
)
def test_a_public_address_is_taken(url: str) -> None:
    """By name, by number, in any alphabet; Liquid may stand behind the host."""
    assert url_fault(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/x",
        "ftp://hooks.example.com",
        "//hooks.example.com",
        "hooks.example.com",
        "https:/hooks.example.com",
        "https://",
        "https:///path",
        "https://user:secret@hooks.example.com/",
        "https://user@hooks.example.com/",
        "https://hooks.example.com@10.0.0.1/",
        "https://good.example.com\\@10.0.0.1/",
        "https://10.0.0.1/x",
        "https://127.0.0.1:8080/",
        "https://169.254.169.254/latest/meta-data",
        "https://192.168.1.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fd00::1]/",
        "https://[fe80::1%25eth0]/",
        "https://2130706433/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://127.0.0.1./",
        "https://１２７.0.0.1/",
        "https://localhost/",
        "https://LOCALHOST.:443/",
        "https://db/",
        "https://metadata.google.internal/",
        "https://printer.local/",
        "https://router.home.arpa/",
        "https://{{ subject.host }}/x",
        "https://example.{{ x }}/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com /x",
        "https://hooks.example.com/\n",
        "https://-x-.example.com/",
        "https://a..example.com/",
    ],
)
def test_what_is_private_or_doubtful_is_not_taken(url: str) -> None:
    """Nothing is looked up: the text alone decides."""
    assert url_fault(url)
