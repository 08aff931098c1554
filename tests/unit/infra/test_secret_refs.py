"""References lead to secrets when they are used, and to nothing else."""

import os
import pickle
from pathlib import Path

import pytest

from services.infra.secret_refs import MAX_BYTES, CannotResolve, resolve


class TestResolve:
    """resolve: env:NAME and file:PATH."""

    def test_a_variable_is_read_at_use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MAIL_PASSWORD", "one")
        first = resolve("env:MAIL_PASSWORD").reveal()
        monkeypatch.setenv("MAIL_PASSWORD", "two")

        assert ("one", "two") == (first, resolve("env:MAIL_PASSWORD").reveal())

    @pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
    def test_a_file_is_read_without_its_last_line_end(self, tmp_path: Path, ending: str) -> None:
        path = tmp_path / "password"
        path.write_bytes(f" s3cret\nline two {ending}".encode())

        assert " s3cret\nline two " == resolve(f"file:{path}").reveal()

    def test_a_link_is_followed(self, tmp_path: Path) -> None:
        """As Kubernetes mounts its secrets."""
        (tmp_path / "real").write_text("s3cret")
        (tmp_path / "link").symlink_to(tmp_path / "real")

        assert "s3cret" == resolve(f"file:{tmp_path / 'link'}").reveal()

    def test_what_is_no_reference_is_not_shown(self) -> None:
        """Whoever puts the secret where the reference belongs must not find it in a log."""
        for text in ("hunter2", "", "env:", "file:", "vault:x", "ENV:X", "env"):
            with pytest.raises(CannotResolve) as caught:
                resolve(text)
            assert "A reference to a secret is env:NAME or file:PATH." == str(caught.value)

    def test_each_failure_says_why(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EMPTY", "")
        (tmp_path / "empty").write_text("\n")
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        (tmp_path / "large").write_bytes(b"x" * (MAX_BYTES + 1))
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        os.mkfifo(tmp_path / "pipe")
        reasons = {
            "env:NOT_THERE": "not set",
            "env:EMPTY": "not set",
            f"file:{tmp_path}/missing": "no such file",
            f"file:{tmp_path}": "no file",
            f"file:{tmp_path}/pipe": "no file",
            f"file:{tmp_path}/empty": "is empty",
            f"file:{tmp_path}/binary": "not UTF-8",
            f"file:{tmp_path}/large": "more than",
            f"file:{tmp_path}/loop": "path",
            "file:a\0b": "path",
        }
        for reference, reason in reasons.items():
            with pytest.raises(CannotResolve, match=reason):
                resolve(reference)

    @pytest.mark.parametrize("name", ["SYNC_API_KEY", "JOURNEYS_BOOTSTRAP_TOKEN", "JOURNEYS_STORE", "JOURNEYS_LOG"])
    def test_the_servers_own_secrets_have_no_reference(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else a workspace's owner could have them sent to a mail server of theirs."""
        monkeypatch.setenv(name, "s3cret")
        monkeypatch.setenv("JOURNEYS_SECRETS_DIR", str(tmp_path))
        (tmp_path / name.lower()).write_text("s3cret")
        (tmp_path / "mail_password").write_text("other")
        (tmp_path / "link").symlink_to(tmp_path / name.lower())

        for reference in (f"env:{name}", f"file:{tmp_path / name.lower()}", f"file:{tmp_path / 'link'}"):
            with pytest.raises(CannotResolve, match="server's own"):
                resolve(reference)
        assert "other" == resolve(f"file:{tmp_path / 'mail_password'}").reveal()

    @pytest.mark.parametrize("path", ["/proc/self/environ", "/proc/../proc/self/cmdline", "/dev/stdin"])
    def test_the_machine_is_no_secret(self, path: str) -> None:
        with pytest.raises(CannotResolve):
            resolve(f"file:{path}")


def test_a_secret_shows_stars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its text, nor its repr, nor a pickle of it holds it."""
    monkeypatch.setenv("MAIL_PASSWORD", "s3cret")
    secret = resolve("env:MAIL_PASSWORD")

    assert ("***", "***", "[***]") == (str(secret), repr(secret), f"{[secret]}")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
