"""A message as a mail server takes it: envelope and bytes.

Law: what a template or a profile rendered never becomes a header, a recipient or a command of its own: an address is
one plain address, a header's text is one line, and nothing else gets into the head. The head is written here, since
the library's folding has lost spaces, encoded URLs and let line breaks through (CVE-2024-6923); words are encoded and
bodies are made by the library.
Source: RFC 5322, 2047, 6531, 2369, 8058.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, quote
from typing import Final

import idna

from services.infra.clock import moment
from services.runtime.senders.outcomes import Permanent
from services.runtime.senders.port import OutgoingMessage

MAX_SUBJECT: Final = 2_000
MAX_NAME: Final = 200
MAX_ADDRESS: Final = 600  # with its name
MAX_LINK: Final = 900  # a header line has 998 bytes
MAX_LOCAL: Final = 200  # of a Message-ID; beyond it a hash stands for the message id

_LOCAL: Final = re.compile(r"[^\s\x00-\x20\x7f()<>\[\],;:\\\"@]{1,64}")
_DOMAIN: Final = re.compile(r"[^\s\x00-\x20\x7f()<>\[\],;:\\\"@%]{1,255}")
_NAMED: Final = re.compile(r"\s*(?:\"(?P<quoted>[^\"<>]*)\"|(?P<plain>[^\"<>]*?))\s*<(?P<address>[^<>]+)>\s*")
_LINK: Final = re.compile(r"https?://[!-;=?-~]+")  # no space, no control, no angle bracket
_NO_ATOM: Final = re.compile(r"[^A-Za-z0-9_.%~-]")
_LONE_DOT: Final = re.compile(r"^\.|\.(?=\.)|\.$")
_LONG_WORD: Final = re.compile(r"\S{61}")  # encoded words can be broken, others cannot
# Seven bits in the body whatever the server says: then no relay behind it recodes it, and no line is too long.
_BODY: Final = SMTP.clone(cte_type="7bit")


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
    head = [_addresses("From", [from_]), _addresses("To", to)]
    everybody = [from_, *to]
    if reply_to:
        everybody.append(_address(reply_to, "replyTo"))
        head.append(_addresses("Reply-To", everybody[-1:]))
    head.append(f"Subject: {_words('Subject', _one_line(message.subject))}")
    head.append(f"Date: {format_datetime(moment(now_ms))}")
    head.append(f"Message-ID: <{_message_id(message.message_id)}@{from_.domain}>")
    if unsubscribe_url:
        if len(unsubscribe_url) > MAX_LINK or not _LINK.fullmatch(unsubscribe_url):
            raise Permanent("The link to unsubscribe is no URL.")
        head.append(f"List-Unsubscribe: <{unsubscribe_url}>")
        head.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
    try:
        data = "\r\n".join(head).encode() + b"\r\n" + _body(message.body, message.text)
    except UnicodeError:
        raise Permanent("The message holds characters that cannot be sent.") from None
    needs_utf8 = not all(one.local.isascii() for one in everybody)
    return Mail(from_.spec, tuple(one.spec for one in to), data, needs_utf8)


@dataclass(frozen=True, slots=True)
class _Address:
    name: str
    local: str
    domain: str

    @property
    def spec(self) -> str:
        return f"{self.local}@{self.domain}"


def _body(html: str, text: str) -> bytes:
    """MIME headers and content: both forms as alternatives, or the one there is."""
    mail = EmailMessage(policy=_BODY)
    if html and not text:
        mail.set_content(html, subtype="html")
    else:
        mail.set_content(text)
        if html:
            mail.add_alternative(html, subtype="html")
    if "MIME-Version" not in mail:
        mail["MIME-Version"] = "1.0"
    return mail.as_bytes()


def _address(text: str, member: str) -> _Address:
    """`anna@example.com` or, but for recipients, `Anna <anna@example.com>`: exactly one, its domain in ASCII."""
    named = _NAMED.fullmatch(text[:MAX_ADDRESS]) if member != "to" else None
    name = (named["quoted"] or named["plain"] or "") if named else ""
    local, _, domain = (named["address"] if named else text).strip(" ").rpartition("@")
    is_plain = _LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain) and not _LONE_DOT.search(local)
    if not is_plain or len(text) > MAX_ADDRESS or _is_broken(text):
        raise Permanent(f"What stands in {member} is no e-mail address.")
    if len(name) > MAX_NAME:
        raise Permanent(f"The name in {member} has more than {MAX_NAME} characters.")
    try:
        ascii_domain = idna.encode(domain.rstrip("."), uts46=True).decode()
    except UnicodeError:
        raise Permanent(f"The domain of the address in {member} cannot exist.") from None
    return _Address(name.strip(), local, ascii_domain)


def _addresses(header: str, addresses: list[_Address]) -> str:
    return f"{header}: " + ",\r\n ".join(_named(header, one) for one in addresses)


def _named(header: str, address: _Address) -> str:
    if not address.name:
        return address.spec
    if _is_plain(address.name):
        return f'"{quote(address.name)}" <{address.spec}>'
    return f"{_words(header, address.name)}\r\n <{address.spec}>"


def _words(header: str, text: str) -> str:
    """One line of text, folded; as encoded words if it is more than ASCII or looks like one."""
    charset = "us-ascii" if _is_plain(text) else "utf-8"
    return Header(text, charset, 76, header).encode(splitchars=" ", linesep="\r\n")


def _is_plain(text: str) -> bool:
    return text.isascii() and "=?" not in text and not _LONG_WORD.search(text)


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
