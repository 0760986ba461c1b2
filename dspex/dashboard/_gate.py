"""Who may come in: every request and every WebSocket passes here before anything else sees it."""

import hmac
from html import escape
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
MOST_BODY_BYTES = 20_000_000
COOKIE = "dspex_dashboard"
_SAFE_HEADERS = (
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'; object-src 'none'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_COOKIE_SECONDS = 30 * 24 * 3600


class Gate:
    """Refuses whatever a page of another site, a stranger without the token or a far too large upload sends.

    A site may point its own name at this machine and then talk to what listens here, as itself (DNS rebinding): so a
    dashboard for this machine alone answers to the names of this machine alone, and everywhere the site that a browser
    says it speaks for must be this one.

    Args:
        app: What lies behind.
        token: What everyone must show; None lets in whoever reaches it.
        hosts: Names it answers to; None for any.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        # Whoever proxies the dashboard does so at the root of a host: a prefix would only reach pages as it was sent.
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"x-forwarded-prefix"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(headers)
        if refusal is not None:
            await _refuse(scope, send, HTTPStatus.FORBIDDEN, refusal)
        elif not self._knows_token(headers):
            await self._ask_for_token(scope, send)
        else:
            await self._let_in(scope, receive, send, headers)

    def _refusal(self, headers: dict[str, str]) -> str | None:
        host = headers.get("host", "")
        if self._hosts is not None and _name_of(host) not in self._hosts:
            return "This dashboard answers to the names of this machine only."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "This dashboard takes nothing from the pages of other sites."
        return None

    def _knows_token(self, headers: dict[str, str]) -> bool:
        if self._token is None:
            return True
        try:
            shown = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return shown is not None and self._is_token(shown.value)

    def _is_token(self, shown: str) -> bool:
        return self._token is not None and hmac.compare_digest(shown.encode(), self._token.encode())

    async def _ask_for_token(self, scope: Scope, send: Send) -> None:
        """Take the token from the address, once, and keep it as a cookie; without one, ask for it."""
        query = parse_qsl(scope["query_string"].decode("latin-1")) if scope["type"] == "http" else []
        shown = dict(query).get("token")
        if shown is None:
            await _refuse(scope, send, HTTPStatus.UNAUTHORIZED, "This dashboard asks for its token.", form=True)
        elif not self._is_token(shown):
            await _refuse(scope, send, HTTPStatus.UNAUTHORIZED, "This is not the token.", form=True)
        else:
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            # One slash: an address that begins with two names another host.
            place = "/" + quote(scope["path"].lstrip("/")) + (f"?{rest}" if rest else "")
            cookie = f"{COOKIE}={shown}; Path=/; HttpOnly; SameSite=Lax; Max-Age={_COOKIE_SECONDS}"
            if scope.get("scheme") == "https":
                cookie += "; Secure"
            headers = [(b"location", place.encode()), (b"set-cookie", cookie.encode())]
            await send({"type": "http.response.start", "status": int(HTTPStatus.SEE_OTHER), "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    async def _let_in(self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str]) -> None:
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BODY_BYTES:
            await _refuse(scope, send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large())
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b"")) if message["type"] == "http.request" else 0
            # A body that said nothing of its length, or not the truth.
            return {"type": "http.disconnect"} if read > MOST_BODY_BYTES else message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_SAFE_HEADERS]
            await send(message)

        await self._app(scope, counted, guarded)


def _name_of(host: str) -> str:
    """The name or address in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _too_large() -> str:
    return f"The dashboard takes at most {MOST_BODY_BYTES // 1_000_000} MB at once; larger data goes by dspex compile."


async def _refuse(scope: Scope, send: Send, status: HTTPStatus, reason: str, *, form: bool = False) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": reason[:100]})
        return
    fields = (
        '<form><label>Token <input name="token" type="password" autocomplete="off" autofocus></label> '
        "<button>Open</button></form><p>Whoever started the dashboard sees it in the terminal.</p>"
    )
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<title>DSPEx</title><style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;"
        "max-width:36rem;margin:4rem auto;padding:0 1rem}input,button{font:inherit;padding:.3rem .6rem}</style>"
        f"<main><h1>DSPEx</h1><p>{escape(reason)}</p>{fields if form else ''}</main></html>"
    )
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store"), *_SAFE_HEADERS]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": page.encode()})
