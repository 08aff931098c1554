"""Servers to send to. None of them knows a message again: what arrives twice is there twice."""

import asyncio
import datetime
import ipaddress
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from services.runtime.senders.port import OutgoingMessage


def message(**changed: Any) -> OutgoingMessage:
    """A message; `changed` members in place of the usual ones."""
    usual: dict[str, Any] = {
        "message_id": "act__v3__usr_a__evt_b-welcome-1",
        "channel": "email",
        "to": ("anna@example.com",),
        "subject": "Hello Anna",
        "body": "<p>Hello Anna</p>",
        "text": "Hello Anna",
        "title": "",
        "data": {},
        "sender": "",
        "workspace": "ws_1",
        "end_user_id": "usr_a",
        "journey_id": "act",
        "execution_id": "act__v3__usr_a__evt_b",
        "step_id": "welcome",
    }
    return OutgoingMessage(**{**usual, **changed})


@dataclass
class Mailbox:
    """What an SMTP server took, and how it answers."""

    port: int = 0
    taken: list[Envelope] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    sessions: set[int] = field(default_factory=set)
    mail_reply: str = "250 OK"
    rcpt_replies: dict[str, str] = field(default_factory=dict)
    data_reply: str = "250 taken"
    pause_s: float = 0.0

    @property
    def mails(self) -> list[EmailMessage]:
        return [parsed(one.content) for one in self.taken]

    async def handle_MAIL(  # noqa: N802  # aiosmtpd names its hooks so
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.mail_reply.startswith("250"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return self.mail_reply

    async def handle_RCPT(  # noqa: N802  # aiosmtpd names its hooks so
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = self.rcpt_replies.get(address, "250 OK")
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802  # so too
        await asyncio.sleep(self.pause_s)
        self.sessions.add(id(session))
        if self.data_reply.startswith("250"):
            self.taken.append(envelope)
        return self.data_reply

    def authenticate(self, server: Any, session: Session, envelope: Envelope, method: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"s3cret", handled=False)


def parsed(content: bytes | str | None) -> EmailMessage:
    """A mail as its reader sees it."""
    assert isinstance(content, bytes)
    mail = message_from_bytes(content, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


@asynccontextmanager
async def smtp_server(
    mailbox: Mailbox, *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None, auth: bool = False
) -> AsyncIterator[Mailbox]:
    """A real SMTP server (aiosmtpd) that puts what it takes into the mailbox."""

    def protocol() -> SMTP:
        with warnings.catch_warnings(action="ignore"):  # that it signs in without TLS, and takes any certificate
            return SMTP(
                mailbox,
                enable_SMTPUTF8=True,
                tls_context=starttls,
                require_starttls=starttls is not None,
                authenticator=mailbox.authenticate if auth else None,
                auth_required=auth,
                auth_require_tls=False,
            )

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=tls)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        await server.wait_closed()


@dataclass
class Script:
    """An SMTP server by the letter, that misbehaves at one point.

    `at`: greeting, EHLO, MAIL, RCPT, DATA or content; `does`: a reply, "close" or "hang"; `times`: how often.
    """

    at: str
    does: str
    times: int = 1_000
    port: int = 0
    contents: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if not await self._answer(writer, "greeting", "220 here"):
                return
            while line := await reader.readline():
                verb = line.split()[0].split(b":")[0].decode().upper()
                reply = {"EHLO": "250-here\r\n250 SIZE 1000000", "QUIT": "221 bye", "DATA": "354 go on"}.get(
                    verb, "250 OK"
                )
                if not await self._answer(writer, verb, reply):
                    return
                if verb == "DATA" and reply.startswith("354") and not (self.at == "DATA" and self.does[0] in "45"):
                    self.contents.append(await reader.readuntil(b"\r\n.\r\n"))
                    if not await self._answer(writer, "content", "250 taken"):
                        return
                if verb == "QUIT":
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, at: str, usual: str) -> bool:
        misbehaves = at == self.at and self.times > 0
        self.times -= misbehaves
        if misbehaves and self.does == "close":
            return False
        if misbehaves and self.does == "hang":
            await asyncio.sleep(3600)
        writer.write((self.does if misbehaves else usual).encode() + b"\r\n")
        await writer.drain()
        return True


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[Script]:
    """The scripted server, listening."""
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(script.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@dataclass
class Request:
    """What an HTTP server was sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Site:
    """An HTTP server: what it was sent, and how it answers."""

    respond: Respond
    port: int = 0
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Request(request.method, request.path_qs, headers, await request.read()))
        return await self.respond(request)


@asynccontextmanager
async def http_server(respond: Respond | int = 200, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    """A real HTTP server (aiohttp) that answers with a status, or as `respond` says."""

    async def with_status(request: web.Request) -> web.Response:
        assert isinstance(respond, int)
        return web.Response(status=respond)

    site = Site(with_status if isinstance(respond, int) else respond)
    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{tail:.*}", site.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        listener = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await listener.start()
        site.port = runner.addresses[0][1]
        yield site
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncIterator[int]:
    """A server that reads a request's head, writes `answer` and closes; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def make_key() -> rsa.RSAPrivateKey:
    """A key, small enough to be made quickly."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem_of(key: rsa.RSAPrivateKey) -> str:
    """The key as service accounts and TLS servers hold it."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def tls_pair(folder: Path, key: rsa.RSAPrivateKey) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate made here for 127.0.0.1, and a client's that trusts it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_text(pem_of(key))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert_file, key_file)
    return server, ssl.create_default_context(cafile=str(cert_file))
