"""What administrators look after: tokens, the audit log, the settings as read, health."""

from typing import Any

from aiohttp import web

from gateway.errors import Invalid
from gateway.http.api.audit import list_all
from gateway.http.api.settings import show_settings
from gateway.http.api.tokens import list_all as list_tokens
from gateway.http.api.tokens import make_token, revoke
from gateway.http.console.page import View, page, problems_of, see
from gateway.http.health import health_of


@page("GET", "/admin/tokens", role="admin")
async def show_tokens(view: View) -> web.StreamResponse:
    """Every token, and a form for a new one."""
    return await view.render("admin/tokens.html", secret=None, **await _tokens(view))


async def _tokens(view: View) -> dict[str, Any]:
    return await view.ask(list_tokens, query={"limit": 50, "cursor": view.query.get("cursor", "0")})


@page("POST", "/admin/tokens", role="admin")
async def new_token(view: View) -> web.StreamResponse:
    """Make a token; this answer is the only place where its secret ever stands."""
    form = view.form
    body = {"name": form.get("name", ""), "role": form.get("role", ""), "days": form.get("days") or None}
    try:
        made = await view.ask(make_token, body=body)
    except Invalid as error:
        told = await _tokens(view)
        return await view.render("admin/tokens.html", status=422, secret=None, problems=problems_of(error), **told)
    view.form = {}
    return await view.render("admin/tokens.html", secret=made["token"], **await _tokens(view))


@page("POST", "/admin/tokens/{token}/revoke", role="admin")
async def revoke_token(view: View) -> web.StreamResponse:
    """Revoke a token; sessions that it opened end with it."""
    await view.ask(revoke)
    return see("/admin/tokens", said="revoked")


@page("GET", "/admin/audit", role="admin")
async def show_audit(view: View) -> web.StreamResponse:
    """Who changed what, filtered."""
    wanted = {name: view.query[name] for name in ("author", "action", "subject", "cursor") if name in view.query}
    told = await view.ask(list_all, query={**wanted, "limit": 50})
    return await view.render("admin/audit.html", wanted=wanted, **told)


@page("GET", "/admin/settings", role="admin")
async def show_all_settings(view: View) -> web.StreamResponse:
    """Every setting as it was read."""
    told = await view.ask(show_settings)
    sections: dict[str, list[dict[str, str]]] = {}
    for one in told["settings"]:
        sections.setdefault(one["key"].partition(".")[0], []).append(one)
    return await view.render("admin/settings.html", sections=sections)


@page("GET", "/admin/health", live=True)
async def show_health(view: View) -> web.StreamResponse:
    """How the gateway is: database, journal, live state, folders."""
    view.sources.append("GET /readyz")
    return await view.render("admin/health.html", health=await health_of(view.gateway))


PAGES = (show_tokens, new_token, revoke_token, show_audit, show_all_settings, show_health)
