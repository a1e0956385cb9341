"""Who must not be called, and the switch that stops all dialling."""

from aiohttp import web

from gateway.errors import Invalid
from gateway.http.api.outbound import list_all, release, show_dialing, start_dialing, stop_dialing, suppress
from gateway.http.console.page import View, page, problems_of, see

_PAGE = 100


@page("GET", "/suppressions")
async def show_list(view: View) -> web.StreamResponse:
    """The suppression list, searched and paged."""
    return await _list(view)


async def _list(view: View, status: int = 200, problems: dict[str, str] | None = None) -> web.StreamResponse:
    query = {name: view.query[name] for name in ("number", "cursor") if name in view.query}
    told = await view.ask(list_all, query=query | {"limit": _PAGE})
    return await view.render(
        "dialing/suppressions.html",
        status=status,
        suppressions=told["suppressions"],
        search=view.query.get("number", ""),
        next=told["next"],
        problems=problems or {},
    )


@page("POST", "/suppressions", role="editor")
async def add(view: View) -> web.StreamResponse:
    """Never call a number again."""
    body = {name: view.form[name] for name in ("number", "reason") if view.form.get(name)}
    try:
        await view.ask(suppress, body={"number": "", **body})
    except Invalid as error:
        return await _list(view, 422, problems_of(error))
    return see("/suppressions", said="suppressed")


@page("POST", "/suppressions/release", role="editor")
async def allow(view: View) -> web.StreamResponse:
    """Allow calls to a number again."""
    await view.ask(release, path={"number": view.form.get("number", "")})
    return see("/suppressions", said="allowed")


@page("GET", "/dialing")
async def show_switch(view: View) -> web.StreamResponse:
    """The kill switch, for browsers without a script."""
    return await view.render("dialing/switch.html", **(await view.ask(show_dialing))["dialing"])


@page("POST", "/dialing/stop", role="editor")
async def stop(view: View) -> web.StreamResponse:
    """Stop all dialling."""
    try:
        await view.ask(stop_dialing, body={"reason": view.form.get("reason", "")})
    except Invalid as error:
        return await view.render("dialing/switch.html", status=422, problems=problems_of(error))
    return see("/dialing", said="stopped")


@page("POST", "/dialing/start", role="editor")
async def start(view: View) -> web.StreamResponse:
    """Dial again what is planned."""
    await view.ask(start_dialing)
    return see("/dialing", said="started")


PAGES = (show_list, add, allow, show_switch, stop, start)
