"""Who may see the page, and what a browser may do with it.

By default only this machine: the address is a loopback one, and a request must name it (a foreign page that
points its own name at 127.0.0.1 does not get in). On any other address a bearer token is needed, as
``Authorization: Bearer …`` or, for a browser, once as ``?token=…``, which becomes a cookie.
"""

import ipaddress
from hmac import compare_digest
from urllib.parse import urlencode

from starlette.datastructures import URL, Headers, MutableHeaders, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "flc_page"

#: Nothing from elsewhere, nothing inline, no frame around it, no form.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}

#: What an orchestrator asks is no secret.
_OPEN = frozenset({"/livez", "/readyz"})


def loopback(host: str) -> bool:
    """Tell whether a host is this machine and nobody else can reach it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Access:
    """Lets requests in that may see the page, and adds the headers that every answer has."""

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            return

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, hardened)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if scope["method"] not in {"GET", "HEAD"}:
            return PlainTextResponse("The page is read-only.\n", 405)
        if self._token is None:
            inside = loopback(URL(scope=scope).hostname or "")
            return None if inside else PlainTextResponse("The page is for this machine only.\n", 403)
        return None if scope["path"] in _OPEN else self._stranger(scope, headers)

    def _stranger(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        """Return what a request without the token gets; one with it in the address gets a cookie."""
        query = QueryParams(scope["query_string"])
        if self._is(token := query.get("token", "")):
            rest = urlencode([(name, value) for name, value in query.multi_items() if name != "token"])
            response = RedirectResponse(scope["path"] + (f"?{rest}" if rest else ""), 303)
            secure = scope["scheme"] == "https"
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure)
            return response
        scheme, _, given = headers.get("authorization", "").partition(" ")
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if (scheme.lower() == "bearer" and self._is(given)) or self._is(cookie):
            return None
        return PlainTextResponse(
            "A token is needed: open this address with ?token=… (FLC_PAGE_TOKEN).\n",
            401,
            {"www-authenticate": "Bearer"},
        )

    def _is(self, given: str) -> bool:
        return self._token is not None and compare_digest(given.encode(), self._token.encode())
