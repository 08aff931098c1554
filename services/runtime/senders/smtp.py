"""Mail over SMTP.

Law: at most once. Until the last line of the content is written nothing was sent, and a failure is known; from then
on only the server's answer tells, and without one the send is in doubt for ever. A code of 5xx is a refusal for
good, everything else before that point is worth a repeat.
Source: runtime design 7; RFC 5321, 3207, 4954.
"""

import asyncio
import re
import socket
import ssl
from asyncio import TimerHandle
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal

from aiosmtplib import (
    SMTP,
    SMTPConnectError,
    SMTPDataError,
    SMTPException,
    SMTPHeloError,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPStatus,
)
from aiosmtplib.protocol import normalize_message_line_endings

from services.infra.clock import Clock, SystemClock
from services.infra.outbound import AddressRefused, Targets, default_tls
from services.infra.secret_refs import CannotResolve, resolve
from services.runtime.senders.mime import Mail, mail_of
from services.runtime.senders.outcomes import InDoubt, Permanent, Temporary, shown
from services.runtime.senders.port import OutgoingMessage, Promise

CONNECTIONS: Final = 8
USES: Final = 100  # mails over one connection
IDLE_S: Final = 10.0
ENVELOPE_S: Final = 20.0  # from connecting to the leave to send the content
CONTENT_S: Final = 60.0
QUEUE_S: Final = 15.0  # half a lease: nobody acts on an intent after that
_FAREWELL_S: Final = 2.0
_DOT: Final = re.compile(rb"(?m)^\.")


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """A mail server, as the workspace settings name it."""

    host: str
    port: int
    security: Literal["none", "starttls", "tls"]
    sender: str  # `from`, used where a communication names none
    username: str = ""
    password_ref: str = ""
    reply_to: str = ""


def own_link(message: OutgoingMessage) -> str:
    """The link to unsubscribe that the message brings; empty where it brings none."""
    return message.unsubscribe_url


class SmtpSender:
    """Hands mails to one mail server, over a few connections that stay open for a while."""

    promise = Promise.AT_MOST_ONCE
    at_once = CONNECTIONS  # more calls than that only wait

    def __init__(
        self,
        settings: SmtpSettings,
        targets: Targets,
        clock: Clock | None = None,
        *,
        unsubscribe_url: Callable[[OutgoingMessage], str] = own_link,
        tls: ssl.SSLContext | None = None,
        envelope_s: float = ENVELOPE_S,
        content_s: float = CONTENT_S,
        queue_s: float = QUEUE_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._settings = settings
        self._targets = targets
        self._clock = clock or SystemClock()
        self._unsubscribe_url = unsubscribe_url
        self._tls = tls
        self._envelope_s = envelope_s
        self._content_s = content_s
        self._queue_s = queue_s
        self._idle_s = idle_s
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[_Line] = []
        self._farewells: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def send(self, message: OutgoingMessage) -> None:
        """Returns when the server took the mail for at least one recipient. Raises Permanent, Temporary, InDoubt."""
        link = self._unsubscribe_url(message)
        mail = mail_of(message, self._settings.sender, self._settings.reply_to, link, self._clock.now_ms())
        async with self._slot():
            line = await self._ready_for_content(mail)
            try:
                await self._hand_over(line, mail)
            except BaseException as error:
                # A refused content ends the transaction like an accepted one; after anything else the line is out of step.
                if isinstance(error, Permanent | Temporary) and line.client.is_connected:
                    self._put_back(line)
                else:
                    line.client.close()
                raise
            self._put_back(line)

    async def close(self) -> None:
        """Say goodbye on idle connections; those in use close when they are done."""
        self._is_closed = True
        while self._idle:
            self._let_go(self._idle[-1])
        if self._farewells:
            await asyncio.wait(self._farewells)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._queue_s):
                await self._slots.acquire()
        except TimeoutError:
            raise Temporary("All connections to the mail server are in use.") from None
        try:
            yield
        finally:
            self._slots.release()

    async def _ready_for_content(self, mail: Mail) -> "_Line":
        """A connection on which the server has accepted the envelope. Every failure here is a known one."""
        deadline = asyncio.get_running_loop().time() + self._envelope_s
        while True:
            line = self._taken()
            is_used = line is not None
            try:
                async with asyncio.timeout_at(deadline):
                    line = line or await self._opened()
                    await _envelope(line.client, mail)
                    return line
            except (SMTPResponseException, Permanent) as error:
                if line is not None:
                    await self._reset(line)
                if isinstance(error, Permanent):
                    raise
                if is_used and error.code == SMTPStatus.domain_unavailable:
                    continue  # it lay idle for too long
                raise _by_code(error.code, error.message) from None
            except (SMTPException, AddressRefused, CannotResolve, OSError, TimeoutError, ValueError) as error:
                if line is not None:
                    line.client.close()
                if is_used and isinstance(error, SMTPServerDisconnected):
                    continue  # it closed while it lay idle, which says nothing about the server
                raise self._failure(error) from error
            except BaseException:
                if line is not None:
                    line.client.close()
                raise

    async def _opened(self) -> "_Line":
        to = self._settings
        password = resolve(to.password_ref) if to.password_ref else None
        client = SMTP(
            hostname=to.host,
            sock=await self._targets.connect(to.host, to.port),
            use_tls=to.security == "tls",
            start_tls=to.security == "starttls",  # never "if offered": who strips the offer would get the mail in clear
            tls_context=self._tls or default_tls(),
            username=to.username or None,
            password=password.reveal() if password else None,
            local_hostname=_own_name(),
            timeout=self._envelope_s,
        )
        await client.connect()
        return _Line(client)

    async def _hand_over(self, line: "_Line", mail: Mail) -> None:
        """Write the content and hear what becomes of it."""
        protocol = line.client.protocol
        if protocol is None:
            raise Temporary("The mail server closed the connection before the content.")
        try:
            protocol.write(_DOT.sub(b"..", normalize_message_line_endings(mail.data)) + b".\r\n")
        except SMTPException:
            raise Temporary("The mail server closed the connection before the content.") from None
        try:
            reply = await protocol.read_response(timeout=self._content_s)
            code, text = reply.code, reply.message
        except SMTPResponseException as error:  # what came is no reply of the protocol
            code, text = error.code, error.message
        except (SMTPException, OSError, TimeoutError) as error:
            raise InDoubt(f"The mail server did not answer after the content ({type(error).__name__}).") from error
        if code == SMTPStatus.completed:
            return
        if 400 <= code < 600:
            raise _by_code(code, text)
        raise InDoubt(f"After the content the mail server answered {code}.")

    def _failure(self, error: BaseException) -> Exception:
        where = f"{self._settings.host}:{self._settings.port}"
        cause = error.__cause__ if isinstance(error, SMTPConnectError) and error.__cause__ else error
        match cause:
            case AddressRefused():
                return Permanent(str(cause))
            case CannotResolve():
                return Temporary(str(cause))
            case ssl.SSLCertVerificationError():
                return Temporary(f"The certificate of {where} is not valid here.")
            case ssl.SSLError():
                return Temporary(f"No TLS connection to {where} comes about.")
            case TimeoutError():
                return Temporary(f"{where} did not answer in time.")
            case socket.gaierror():
                return Temporary(f"The name {self._settings.host} leads to no address.")
            case SMTPServerDisconnected():
                return Temporary(f"{where} closed the connection.")
            case OSError():
                return Temporary(f"No connection to {where}: {(cause.strerror or 'it was refused').lower()}.")
            case SMTPException():  # no STARTTLS, no AUTH
                return Permanent(f"{where}: {shown(cause.message)}")
            case _:
                return Permanent("An address or a setting cannot be written in a mail command.")

    def _taken(self) -> "_Line | None":
        while self._idle:
            line = self._idle.pop()
            line.stop_timer()
            if line.client.is_connected:
                return line
            line.client.close()
        return None

    def _put_back(self, line: "_Line") -> None:
        line.uses += 1
        if self._is_closed or line.uses >= USES or not line.client.is_connected:
            self._say_goodbye(line)
            return
        line.timer = asyncio.get_running_loop().call_later(self._idle_s, self._let_go, line)
        self._idle.append(line)

    async def _reset(self, line: "_Line") -> None:
        """The server refused and listens on: the next mail may use the connection."""
        try:
            async with asyncio.timeout(_FAREWELL_S):
                await line.client.rset()
        except (SMTPException, OSError, TimeoutError):
            line.client.close()
        except BaseException:
            line.client.close()
            raise
        else:
            self._put_back(line)

    def _let_go(self, line: "_Line") -> None:
        line.stop_timer()
        self._idle.remove(line)
        self._say_goodbye(line)

    def _say_goodbye(self, line: "_Line") -> None:
        task = asyncio.get_running_loop().create_task(_quit(line.client))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)


@dataclass(slots=True, eq=False)
class _Line:
    """One open connection."""

    client: SMTP
    uses: int = 0
    timer: TimerHandle | None = None

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


async def _envelope(client: SMTP, mail: Mail) -> None:
    """MAIL, RCPT, DATA. Raises what the server said; Permanent if no server of its kind could take the mail."""
    if client.is_ehlo_or_helo_needed:
        try:
            await client.ehlo()
        except SMTPHeloError:
            await client.helo()
    options = []
    if client.supports_extension("size"):
        options.append(f"SIZE={len(mail.data)}")
    if mail.needs_utf8:
        if not client.supports_extension("smtputf8"):
            raise Permanent("The mail server takes no addresses beyond ASCII.")
        options += ["SMTPUTF8", "BODY=8BITMIME"]
    encoding = "utf-8" if mail.needs_utf8 else "ascii"
    await client.mail(mail.sender, options=options, encoding=encoding)
    refused: list[SMTPRecipientRefused] = []
    for recipient in mail.recipients:
        try:
            await client.rcpt(recipient, encoding=encoding)
        except SMTPRecipientRefused as error:
            refused.append(error)
    if len(refused) == len(mail.recipients):
        raise min(refused, key=lambda one: one.code)  # one that may be taken later outweighs those that never will
    reply = await client.execute_command(b"DATA")
    if reply.code != SMTPStatus.start_input:
        raise SMTPDataError(reply.code, reply.message)


async def _quit(client: SMTP) -> None:
    try:
        await client.quit(timeout=_FAREWELL_S)
    except (SMTPException, OSError, TimeoutError):
        client.close()


def _by_code(code: int, text: str) -> Exception:
    reason = f"The mail server says {code}: {shown(text)}"
    return Permanent(reason, code) if 500 <= code < 600 else Temporary(reason, status=code)


def _own_name() -> str:
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9.-]+", name) else "localhost"
