"""Personal data as it may be shown to people who need not know it.

Law: enough stays to recognise a message by, never enough to reach anybody. In doubt more is masked: a text of the
author's that looks like a person's datum is masked too. Source: contract 5 (PII masked).
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final
from urllib.parse import quote, quote_plus

MARK: Final = "***"
MOST_WAYS: Final = (
    1_000  # of writing values, looked for in a text; what a template prints is masked where it is printed
)
LONGEST_VALUE: Final = 500
# Members whose value is personal whoever the person is, written without `_`, `-` and capitals.
PERSONAL: Final = frozenset(
    {"name", "firstname", "lastname", "middlename", "fullname", "givenname", "familyname", "surname", "nickname"}
    | {"displayname", "username", "email", "emailaddress", "phone", "phonenumber", "telephone", "tel", "mobile"}
    | {"mobilephone", "cell", "cellphone"}
)
# Bounded everywhere, so that no text takes more than time linear in its length.
_EMAIL = re.compile(
    r"(?<![\w.+'~!#$%-])((?:[\w.+'~!#$-]|%(?!(?:25){0,2}40)[0-9a-f]{2}){1,128})(@|%(?:25){0,2}40)"
    r"([\w-]{1,64}(?:\.[\w-]{1,64}){0,16})",
    re.IGNORECASE,
)
# Every digit in it ends a match, so a failed look goes over a run of signs a few times, however long it is.
_PHONE = re.compile(
    r"(?:(?<![\w.+%])|(?<=%[0-9a-f]{2}))(?:\+|%2B|\(|00?)?\d(?:[\s().\-/\u00a0\u2010-\u2015]|%20|\d){5,}\d(?!\w)",
    re.IGNORECASE,
)
_DAY, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:19|20)\d\d"
_DATES = re.compile(rf"(?:[\s()./-]*(?:{_YEAR}-{_DAY}-{_DAY}|{_DAY}[./-]{_DAY}[./-]{_YEAR})(?!\d))+")
_BARE = 10  # digits in a row, without any sign of a phone number, that are taken for one


def masked_address(address: str) -> str:
    """`anna@example.com` as `a***@e***.com`; any other address keeps its first character and its length class."""
    name, at, host = address.rpartition("@")
    if not at:
        return f"{address[:1]}***" if address else ""
    domain, dot, top = host.rpartition(".")
    return f"{name[:1]}***@{(domain or top)[:1]}***{dot}{top if dot else ''}"


def masked_text(text: str) -> str:
    """A value that belongs to a person: its first sign, and no length."""
    bare = text.strip()
    if not bare:
        return text
    return masked_address(bare) if _EMAIL.fullmatch(bare) and "@" in bare else f"{bare[0]}{MARK}"


def masked_by_rule(text: str) -> str:
    """The text with every e-mail address and phone number in it masked, also inside addresses of the web."""
    return _PHONE.sub(_phone, _EMAIL.sub(_email, text))


def strings_in(value: Any) -> Iterator[str]:
    """Every string inside a JSON value; iterative."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            rest.extend(one.values())
        elif isinstance(one, list | tuple):
            rest.extend(one)


def personal_strings_in(value: Any) -> Iterator[str]:
    """Every string under a member that is personal by its name."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, Mapping):
            for name, inner in one.items():
                if is_personal(str(name)):
                    yield from strings_in(inner)
                else:
                    rest.append(inner)
        elif isinstance(one, list | tuple):
            rest.extend(one)


def name_parts(value: str) -> Iterator[str]:
    """The names that a name is made of: people are called by one of them. Of an address or a number, none."""
    words = value.split()
    if len(words) < 2 or masked_by_rule(value) != value:
        return
    for word in words:
        bare = word.strip('.,;()"')
        if len(bare) >= (3 if bare.isascii() else 2) and not bare.islower():
            yield bare


def is_personal(name: str) -> bool:
    """Whether a member of that name holds a name, an e-mail address or a phone number."""
    return name.lower().replace("_", "").replace("-", "") in PERSONAL


class Mask:
    """Masks texts about one person.

    `values` are strings of theirs that must not be read anywhere; with `is_real`, whatever a template prints of
    `subject` is masked, whatever it was made into.
    """

    def __init__(self, values: Iterable[str], *, is_real: bool) -> None:
        self._is_real = is_real
        self._ways = _ways(values)

    def text(self, text: str) -> str:
        """A whole text: by rule, and by value wherever one stands as a word of its own."""
        shown = masked_by_rule(text)
        folded = shown.casefold()
        there = [way for way in self._ways if way.casefold() in folded]
        if not there:
            return shown
        pattern = "|".join(_bounded(way) for way in sorted(there, key=len, reverse=True))
        return re.sub(pattern, lambda found: masked_text(found[0]), shown, flags=re.IGNORECASE)

    def printed(self, text: str, sources: Sequence[str]) -> str:
        """What a template prints, made of the values at these dotted paths."""
        for source in sources:
            root, _, rest = source.partition(".")
            if (self._is_real and root == "subject") or (root != "journey" and is_personal(rest.rpartition(".")[2])):
                return masked_text(text)
        return self.text(text)

    def json(self, value: Any) -> Any:
        """The same JSON with its strings masked; names of members stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {name: self.json(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.json(inner) for inner in value]
        return value

    def inputs(self, value: Any) -> Any:
        """What a check looked at: by rule and by value, and whatever a condition found at a personal path."""
        if isinstance(value, Mapping):
            hidden = is_personal(str(value.get("fieldPath", "")).rpartition(".")[2])
            return {
                name: masked_strings(inner) if hidden and name == "found" else self.inputs(inner)
                for name, inner in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.inputs(inner) for inner in value]
        return self.text(value) if isinstance(value, str) else value


def masked_strings(value: Any) -> Any:
    """The same JSON with nothing left of its strings but their first signs."""
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, Mapping):
        return {name: masked_strings(inner) for name, inner in value.items()}
    return [masked_strings(inner) for inner in value] if isinstance(value, list | tuple) else value


def _ways(values: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for value in values:
        bare = value.strip()
        if 2 <= len(bare) <= LONGEST_VALUE:
            found.update(dict.fromkeys(_ways_to_write(bare)))
        if len(found) >= MOST_WAYS:
            break
    return tuple(found)


def _ways_to_write(value: str) -> Iterator[str]:
    """A value as it may stand in a text, in HTML and in an address of the web, composed and decomposed."""
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, value)
        yield from (text, text.upper(), escape(text), quote(text, safe=""), quote_plus(text, safe=""))


def _bounded(text: str) -> str:
    """Not inside another word, where the script puts spaces between words."""
    before = r"(?<![^\W_])" if _ends_a_word(text[0]) else ""
    after = r"(?![^\W_])" if _ends_a_word(text[-1]) else ""
    return f"{before}{re.escape(text)}{after}"


def _ends_a_word(sign: str) -> bool:
    return sign.isdigit() or sign.lower() != sign.upper()


def _email(found: re.Match[str]) -> str:
    name, at, host = found.groups()
    domain, dot, top = host.rpartition(".")
    return f"{name[:1]}{MARK}{at}{(domain or top)[:1]}{MARK}{dot}{top if dot else ''}"


def _phone(found: re.Match[str]) -> str:
    text = found[0]
    if dates := _DATES.match(text):  # what stands behind a date may be a number all the same
        rest = text[dates.end() :].lstrip()
        return text.removesuffix(rest) + _number(rest)
    return _number(text)


def _number(text: str) -> str:
    """Masked, if it has as many digits as a phone number, or as several of them."""
    digits = sum(sign.isdigit() for sign in text.replace("%20", "").removeprefix("%2B"))
    is_bare = text.isdigit()
    if digits < 7 or (is_bare and (digits > 17 or (digits < _BARE and not text.startswith("0")))):
        return text
    return f"{text[:3] if text[0] == '%' else text[:2]}{MARK}"
