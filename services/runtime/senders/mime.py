"""A message as a mail server takes it: envelope and bytes.

Law: what a template or a profile rendered never becomes a header, a recipient or a command of its own. An address is
one plain address, a header's text is one line, and the finished head is read again before it leaves: Python's own
folding has let line breaks through before (CVE-2024-6923).
Source: RFC 5322, 6531, 2369, 8058.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from email.headerregistry import Address, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime
from typing import Any, Final

import idna

from services.infra.clock import moment
from services.runtime.senders.outcomes import Permanent
from services.runtime.senders.port import OutgoingMessage

MAX_SUBJECT: Final = 2_000
MAX_LINK: Final = 900  # a header line has 998 bytes
MAX_LOCAL: Final = 200  # of a Message-ID; beyond it a hash stands for the message id

_LOCAL: Final = re.compile(r"[^\s\x00-\x20\x7f()<>\[\],;:\\\"@]{1,64}")
_DOMAIN: Final = re.compile(r"[^\s\x00-\x20\x7f()<>\[\],;:\\\"@%]{1,255}")
_NAMED: Final = re.compile(r"\s*(?:\"(?P<quoted>[^\"<>]*)\"|(?P<plain>[^\"<>]*?))\s*<(?P<address>[^<>]+)>\s*")
_LINK: Final = re.compile(r"https?://[!-;=?-~]+")  # no space, no control, no angle bracket
_NO_ATOM: Final = re.compile(r"[^A-Za-z0-9_.%~-]")
_LONE_DOT: Final = re.compile(r"^\.|\.(?=\.)|\.$")
_HEAD: Final = re.compile(rb"[A-Za-z-]+(?=:)")
_HEADERS: Final = frozenset(
    b"from to reply-to subject date message-id list-unsubscribe list-unsubscribe-post mime-version content-type "
    b"content-transfer-encoding".split()
)


@dataclass(frozen=True, slots=True)
class Mail:
    """What goes over the wire. `needs_utf8`: an address is not ASCII, so the server must know SMTPUTF8."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    needs_utf8: bool


def mail_of(message: OutgoingMessage, sender: str, reply_to: str, unsubscribe_url: str, now_ms: int) -> Mail:
    """The mail of a message. `sender` is used where the message names none. Raises Permanent with the reason."""
    from_ = _address(message.sender or sender, "from")
    to = [_address(one, "to") for one in message.to]
    if not to:
        raise Permanent("There is no address to send to.")
    replies = _address(reply_to, "replyTo") if reply_to else None
    everybody = [from_, *to, *([replies] if replies else [])]
    needs_utf8 = not all(one.username.isascii() for one in everybody)
    mail = EmailMessage(policy=_UTF8 if needs_utf8 else _ASCII)
    mail["From"] = from_
    mail["To"] = to
    if replies:
        mail["Reply-To"] = replies
    mail["Subject"] = _one_line(message.subject)
    mail["Date"] = format_datetime(moment(now_ms))
    mail["Message-ID"] = f"<{_message_id(message.message_id)}@{from_.domain}>"
    if unsubscribe_url:
        if len(unsubscribe_url) > MAX_LINK or not _LINK.fullmatch(unsubscribe_url):
            raise Permanent("The link to unsubscribe is no URL.")
        mail["List-Unsubscribe"] = f"<{unsubscribe_url}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    try:
        if message.text or not message.body:
            mail.set_content(message.text)
            if message.body:
                mail.add_alternative(message.body, subtype="html")
        else:
            mail.set_content(message.body, subtype="html")
        data = mail.as_bytes()
    except UnicodeError:
        raise Permanent("The message holds characters that cannot be sent.") from None
    _check_head(data)
    return Mail(from_.addr_spec, tuple(one.addr_spec for one in to), data, needs_utf8)


def _address(text: str, member: str) -> Address:
    """`anna@example.com` or `Anna <anna@example.com>`, exactly one, its domain in ASCII."""
    named = _NAMED.fullmatch(text) if member != "to" else None
    name = (named["quoted"] or named["plain"] or "") if named else ""
    local, _, domain = (named["address"] if named else text).strip(" ").rpartition("@")
    if not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain) or _is_broken(text) or _LONE_DOT.search(local):
        raise Permanent(f"What stands in {member} is no e-mail address.")
    try:
        ascii_domain = idna.encode(domain.rstrip("."), uts46=True).decode()
    except UnicodeError:
        raise Permanent(f"The domain of the address in {member} cannot exist.") from None
    return Address(name, local, ascii_domain)


def _one_line(text: str) -> str:
    """A header's text. What Liquid's tags left around it goes; a line break within it is an attack or a mistake."""
    line = text.strip().replace("\t", " ")
    if _is_broken(line):
        raise Permanent("The subject holds a line break or a control character.")
    if len(line) > MAX_SUBJECT:
        raise Permanent(f"The subject has more than {MAX_SUBJECT:,} characters.")
    return line


def _is_broken(text: str) -> bool:
    return any(unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") for char in text)


def _message_id(message_id: str) -> str:
    """The message id as the left part of a Message-ID: the same for the same message, and readable where it fits."""
    local = _NO_ATOM.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), message_id)
    local = _LONE_DOT.sub("%2E", local)
    if 0 < len(local) <= MAX_LOCAL:
        return local
    return hashlib.blake2b(message_id.encode(), digest_size=16).hexdigest()


def _check_head(data: bytes) -> None:
    seen = set()
    for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and seen and b"\r" not in line and b"\n" not in line:
            continue
        found = _HEAD.match(line)
        name = found[0].lower() if found else b""
        if name not in _HEADERS or name in seen or b"\r" in line or b"\n" in line:
            raise Permanent("The head of the mail would hold a line that is not ours.")
        seen.add(name)


class _OneLine(UnstructuredHeader):
    """A header that machines read: the library would fold a long URL into encoded words, which they do not decode."""

    def fold(self: Any, *, policy: EmailPolicy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


def _policy(utf8: bool) -> EmailPolicy:
    registry = HeaderRegistry()
    for name in ("message-id", "list-unsubscribe", "list-unsubscribe-post"):
        registry.map_to_type(name, _OneLine)
    # Seven bits in the body whatever the server says: then no relay behind it recodes it, and no line is too long.
    return SMTP.clone(header_factory=registry, utf8=utf8, cte_type="7bit")


_ASCII: Final = _policy(utf8=False)
_UTF8: Final = _policy(utf8=True)
