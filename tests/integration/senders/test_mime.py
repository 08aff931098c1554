"""Whatever a template renders, the head of a mail has our lines and no others, and its reader sees the text."""

from email import message_from_bytes
from email.header import decode_header, make_header

from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime.senders.mime import mail_of
from services.runtime.senders.outcomes import Permanent
from tests.integration.senders.peers import message, parsed

LINE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=150)
NAME = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters='<>"'), max_size=100)
OURS = [b"From", b"To", b"Subject", b"Date", b"Message-ID"]


@settings(deadline=None)
@given(LINE, NAME.filter(str.strip))
def test_a_line_of_any_script_comes_back_as_it_was(subject: str, name: str) -> None:
    """Folded into lines that every server takes, unfolded and decoded into the same text."""
    mail = mail_of(message(subject=subject), f"{name} <news@example.com>", "", "", 0)

    head = mail.data.partition(b"\r\n\r\n")[0].split(b"\r\n")
    read = message_from_bytes(mail.data)
    assert max(map(len, head)) < 200
    assert OURS == [line.partition(b":")[0] for line in head if line[:1] != b" "][:5]
    assert subject.strip() == str(make_header(decode_header(read["Subject"].replace("\r\n", ""))))
    shown = str(make_header(decode_header(read["From"].replace("\r\n", ""))))
    assert f"{name.strip()} <news@example.com>" == shown.replace('"', "").replace("\\\\", "\\")


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40), st.text(max_size=40), st.text(max_size=200))
def test_no_text_adds_a_header_or_a_recipient(to: str, sender: str, reply: str, subject: str, text: str) -> None:
    """Whatever stands anywhere, the mail has our headers once each and the one recipient, or is refused."""
    try:
        mail = mail_of(
            message(to=(to,), sender=sender, subject=subject, text=text, body=text), "n@example.com", reply, "", 0
        )
    except Permanent:
        return

    names = [name.lower() for name in message_from_bytes(mail.data)]
    assert len(names) == len(set(names))
    assert {"from", "to", "subject", "date", "message-id", "mime-version", "content-type"} <= set(names)
    assert set(names) <= {
        *map(str.lower, map(bytes.decode, OURS)),
        "reply-to",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
    }
    assert 1 == len(mail.recipients)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
def test_a_body_comes_back_as_it_was(text: str) -> None:
    """But for the line ends, which SMTP has of one kind only."""
    read = parsed(mail_of(message(text=text, body=""), "n@example.com", "", "", 0).data).get_content()

    def lines(of: str) -> list[str]:
        return of.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")

    assert lines(text) == lines(read)
