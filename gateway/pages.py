"""Pages without a script, a font or an image from anywhere: where to begin, the routes to read, and what people
want to be sent.

The dashboard replaces the first one when its part is built.
"""

import re
from collections.abc import Sequence
from html import escape
from typing import Final

from journeys.runtime.v1.subject_service_pb2 import Preferences
from journeys.type.v1.error_reason_pb2 import ErrorReason

from gateway.declaration import Role, Route
from gateway.errors import OWN_CODES

_STYLE: Final = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h1{line-height:1.2}h2{margin-top:2.2rem}h2::first-letter{text-transform:uppercase}
code,pre{font:14px/1.5 ui-monospace,monospace;background:#f3f4f6;border-radius:4px}
code{padding:.1rem .3rem;overflow-wrap:anywhere}pre{padding:.8rem;overflow-x:auto}
table{border-collapse:collapse;width:100%}th,td{text-align:start;vertical-align:top;padding:.45rem .6rem;border-bottom:1px solid #d9dde2}
th:first-child{width:45%}small{color:#4b5563}a{color:#0b5394}
button{font:inherit;padding:.5rem 1rem}label{display:flex;gap:.6rem;padding:.35rem 0}input{flex:none;width:1.15rem;height:1.15rem;margin:.2rem 0 0}
@media (max-width:40rem){tr:first-child{display:none}tr,td{display:block}td{border:0;padding:.2rem 0}td:last-child::before{content:"for "}tr{padding:.5rem 0;border-bottom:1px solid #d9dde2}}
@media (prefers-color-scheme:dark){body{color:#e6e8eb;background:#14171a}code,pre{background:#23282d}
th,td,tr{border-color:#363c43!important}small{color:#aab2bb}a{color:#8ec5ff}}
"""
_ROLES: Final = {
    Role.PUBLIC: "everybody",
    Role.VIEWER: "viewer",
    Role.EDITOR: "editor",
    Role.OWNER: "owner",
    Role.INTERNAL: "the server's own key",
}
_CHANNELS: Final = {"email": "E-mail", "in_app_push": "Messages in the app", "mobile_push": "Push notifications"}
_UNLISTED: Final = '<meta name="robots" content="noindex,nofollow">'


def home(version: str, origin: str) -> bytes:
    """The page at `/`: what this is, how to sign in, where to read on. `origin` is where the reader found us."""
    return _page(
        "Adaptive Journeys",
        f"""
<h1>Adaptive Journeys</h1>
<p>A self-hosted orchestrator of customer journeys, version {escape(version)}. This server is running; its dashboard is
not built yet, so everything goes through the API.</p>
<ul>
<li><a href="/docs">The routes</a>, to read here</li>
<li><a href="/api/openapi.json">openapi.json</a>, for tools</li>
<li><a href="/readyz">readyz</a> and <a href="/metrics">metrics</a>, for whoever runs it</li>
</ul>
<h2>Sign in</h2>
<p>The first start made a workspace and printed its owner's session. With it:</p>
<pre>curl -H "Cookie: session=&lt;your-session&gt;" {escape(origin)}/api/journeys</pre>
<p>Members sign in with <code>POST /api/session</code> and <code>{{"email": ..., "password": ...}}</code>; machines send
an API key as <code>x-api-key</code>.</p>
""",
    )


def docs(routes: Sequence[Route], version: str) -> bytes:
    """The page at `/docs`: every route with who may call it and what it answers."""
    nouns: dict[str, list[Route]] = {}
    for route in routes:
        nouns.setdefault(route.noun, []).append(route)
    sections = "".join(
        f'<h2 id="{escape(noun)}">{escape(noun.replace("-", " "))}</h2>'
        f"<table><tr><th>Route</th><th>What it does</th><th>Who</th></tr>{''.join(map(_row, found))}</table>"
        for noun, found in nouns.items()
    )
    contents = " · ".join(f'<a href="#{escape(noun)}">{escape(noun)}</a>' for noun in nouns)
    codes = " ".join(f'<code id="{code}">{code}</code>' for code in codes_of_refusals())
    return _page(
        "Adaptive Journeys: routes",
        f"""
<h1>Routes</h1>
<p>Version {escape(version)}, made from the same declarations as <a href="/api/openapi.json">openapi.json</a>, which has
the shapes of bodies and answers.</p>
<p>{contents}</p>
<p>JSON in UTF-8. Times are RFC 3339 in UTC with three fraction digits, lengths ISO 8601 without months and years.
Lists are bare arrays; <code>?limit=</code> (1 to 500) and <code>?cursor=</code> page through them, the next page is in
<code>Link</code>. Every single resource has an <code>ETag</code>. A refusal is
<code>application/problem+json</code> with a <code>code</code>, a <code>requestId</code> and, where a body is wrong,
<code>errors</code> with a JSON Pointer each.</p>
{sections}
<h2>Codes of refusals</h2>
<p>{codes}</p>
""",
    )


def preferences(shown: Preferences, notice: str = "") -> bytes:
    """The page at `/preferences/{token}`: every channel with a box, and one for nothing at all."""
    name = shown.workspace_name
    told = f'<p role="status"><strong>{escape(notice)}</strong></p>' if notice else ""
    boxes = "".join(
        f'<input type="hidden" name="shown" value="{escape(one.channel)}"><label>'
        f'<input type="checkbox" name="channel" value="{escape(one.channel)}"{_checked(one.opted_in)}> '
        f"{escape(_channel(one.channel))}</label>"
        for one in shown.channels
    )
    takes = any(one.opted_in for one in shown.channels if one.channel == shown.channel) and not shown.global_opt_out
    quick = (
        f'<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
        f"<p><button>Unsubscribe from {escape(_channel(shown.channel).lower())}</button></p></form><h2>Or choose</h2>"
        if takes
        else ""
    )
    return _page(
        f"What {name} may send you",
        # Its name may run the other way than our sentence.
        f"""
<h1>What <bdi>{escape(name)}</bdi> may send you</h1>
{told}{quick}
<form method="post">
{boxes}
<label><input type="checkbox" name="global" value="1"{_checked(shown.global_opt_out)}> Nothing at all, whatever is
chosen above</label>
<p><button>Save</button></p>
</form>
""",
        head=_UNLISTED,
    )


def dead_link(*, is_expired: bool) -> bytes:
    """The page behind a link that leads nowhere."""
    title = "This link has expired" if is_expired else "This link leads nowhere"
    hint = "The link in the newest message you have got works."
    if not is_expired:
        hint = f"It may have been cut off on its way. {hint}"
    return _page(title, f"<h1>{title}</h1><p>{hint}</p>", head=_UNLISTED)


def codes_of_refusals() -> list[str]:
    """Every code a problem can have, sorted: the services' reasons and the gateway's own."""
    reasons = [name.removeprefix("ERROR_REASON_").lower() for name, number in ErrorReason.items() if number]
    return sorted({*reasons, *OWN_CODES})


def _row(route: Route) -> str:
    details = f"<br><small>{_told(route.details)}</small>" if route.details else ""
    return (
        f"<tr><td><code>{route.method}</code> <code>{escape(route.path)}</code></td>"
        f"<td>{_told(route.summary)}{details}</td><td>{_ROLES[route.role]}</td></tr>"
    )


def _told(text: str) -> str:
    return re.sub("`([^`]*)`", r"<code>\1</code>", escape(text))


def _checked(is_checked: bool) -> str:
    return " checked" if is_checked else ""


def _channel(channel: str) -> str:
    return _CHANNELS.get(channel, channel)


def _page(title: str, body: str, head: str = "") -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"{head}<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    ).encode()
