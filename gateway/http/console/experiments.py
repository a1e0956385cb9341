"""Experiments: the list, one with its results, what people do to it, samples and labels, exports and the report."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from aiohttp import web

from gateway.errors import Conflict, GatewayError, Invalid, NotFound
from gateway.http.api import experiments as api
from gateway.http.api.calls import label_call
from gateway.http.api.endpoint import Endpoint
from gateway.http.api.results import draw_label, export_calls, show_results, show_samples
from gateway.http.console.agents import keep
from gateway.http.console.page import View, page, problems_of, see
from gateway.http.console.plan import how_long
from gateway.judges.labels import questions
from gateway.results.figures import figures
from gateway.settings import Criterion

_PAGE = 50
_MINUTE = 60_000
# How long a pause may be asked for; "" lasts until somebody resumes.
PAUSES: Mapping[str, tuple[str, int | None]] = {
    "": ("until I resume it", None),
    "60": ("1 hour", 60 * _MINUTE),
    "240": ("4 hours", 240 * _MINUTE),
    "1440": ("24 hours", 1440 * _MINUTE),
}
OPEN = ("scheduled", "running", "paused")


@page("GET", "/experiments", live=True)
async def show_experiments(view: View) -> web.StreamResponse:
    """Every experiment: drafts, open ones, ended ones."""
    cursor = view.query.get("cursor", "0")
    told = await view.ask(api.list_all, query={"limit": _PAGE, "cursor": cursor})
    return await view.render("experiments/list.html", first=cursor == "0", **told)


@page("GET", "/experiments/{experiment}", live=True)
async def show_one(view: View) -> web.StreamResponse:
    """One experiment."""
    return await _show(view)


async def _show(view: View, *, problems: Mapping[str, str] | None = None, status: int = 200) -> web.StreamResponse:
    one = (await view.ask(api.show_experiment))["experiment"]
    context = await _results(view, one) if one["status"] != "draft" else {"needs": await _needs(view, one)}
    return await view.render(
        "experiments/experiment.html",
        status=status,
        one=one,
        may_test=view.caller.may(view.gateway.settings.auth.experiments_role),
        pauses=PAUSES,
        is_open=one["status"] in OPEN,
        arms=one["epochs"][-1]["arms"],
        problems=problems or {},
        **context,
    )


async def _results(view: View, one: Mapping[str, Any]) -> dict[str, Any]:
    results = await view.ask(show_results)
    return {"results": results, "figures": figures(results, one["record"])}


async def _needs(view: View, one: Mapping[str, Any]) -> dict[str, Any] | None:
    """How many calls and days the draft needs on its route."""
    split = {arm["arm"]: arm["share"] for arm in one["epochs"][-1]["arms"]}
    return await how_long(view, one["route"], one["plan"] or {}, split)


# -- what people do ----------------------------------------------------------------------------------------


@page("POST", "/experiments/{experiment}/start", role="editor")
async def start(view: View) -> web.StreamResponse:
    """Start a draft, now or at a time."""
    try:
        at = _moment(view.form["at"]) if view.form.get("at") else None
    except ValueError:
        return await _show(view, problems={"start.at": "write a time such as 2026-05-01T09:30"}, status=422)
    return await _do(view, api.start, "start", "test_scheduled" if at else "test_started", at=at)


@page("POST", "/experiments/{experiment}/pause", role="editor")
async def pause(view: View) -> web.StreamResponse:
    """Let Version A answer for a while."""
    _, lasts = PAUSES.get(view.form.get("for", ""), PAUSES[""])
    until = view.gateway.wall() + lasts if lasts else None
    return await _do(view, api.pause, "pause", "test_paused", until=until)


@page("POST", "/experiments/{experiment}/resume", role="editor")
async def resume(view: View) -> web.StreamResponse:
    """Let calls take part again."""
    return await _do(view, api.resume, "resume", "test_resumed")


@page("POST", "/experiments/{experiment}/stop", role="editor")
async def stop(view: View) -> web.StreamResponse:
    """End the test; with no winner Version A answers."""
    winner = view.form.get("winner") or None
    return await _do(view, api.stop, "stop", "test_won" if winner else "test_stopped", winner=winner)


@page("POST", "/experiments/{experiment}/apply", role="editor")
async def apply(view: View) -> web.StreamResponse:
    """Make the winner Version A of its route."""
    winner, override = view.form.get("winner") or None, view.form.get("override") or None
    return await _do(view, api.apply, "apply", "test_applied", winner=winner, override=override)


@page("POST", "/experiments/{experiment}/delete", role="editor")
async def delete(view: View) -> web.StreamResponse:
    """Delete a stopped experiment."""
    try:
        await view.ask(api.delete)
    except Conflict as error:
        return await _show(view, problems={"": error.message}, status=409)
    return see("/experiments", said="test_deleted")


async def _do(view: View, verb: Endpoint, form: str, said: str, **body: Any) -> web.StreamResponse:
    """Do what a form asks for; what is wrong with it is told in that form."""
    try:
        one = (await view.ask(verb, body={"reason": view.form.get("reason", ""), **body}))["experiment"]
    except (Invalid, Conflict) as error:
        status = 409 if isinstance(error, Conflict) else 422
        return await _show(view, problems={form: _sentence(error)}, status=status)
    await keep(view, "route", one["route"])
    return see(_address(one["id"]), said=said)


def _sentence(error: GatewayError) -> str:
    return "; ".join(f"{one.path} {one.text}".strip() for one in error.problems) or error.message


def _moment(text: str) -> int:
    """Unix milliseconds of what a ``datetime-local`` field sends, read as UTC."""
    return max(0, int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000))


# -- samples and labels ------------------------------------------------------------------------------------


@page("GET", "/experiments/{experiment}/samples")
async def show_sample(view: View) -> web.StreamResponse:
    """Transcripts of each arm, side by side."""
    seed = _number(view.query.get("seed"), 1)
    told = await view.ask(show_samples, query={"n": 5, "seed": seed})
    return await view.render("experiments/samples.html", one=told["experiment"], **told)


@page("GET", "/experiments/{experiment}/label", role="editor")
async def show_label(view: View) -> web.StreamResponse:
    """One call to be labelled, without a word on its arm."""
    return await _label(view, view.query.get("after", ""))


@page("POST", "/experiments/{experiment}/label", role="editor")
async def label(view: View) -> web.StreamResponse:
    """Keep what somebody found in a call, and show the next one."""
    form = view.form
    after = form.get("after", "")
    known = questions(view.gateway.settings.analysis.criteria)
    told = {name: _value(known[name], form[f"is.{name}"]) for name in known if form.get(f"is.{name}")}
    try:
        if not told:
            raise Invalid("say at least one thing of this call, or skip it")
        for name, value in told.items():
            body = {"criterion": name, "value": value}
            await view.ask(label_call, path={"call": form.get("call", "")}, body=body)
    except Invalid as error:
        return await _label(view, after, problems=problems_of(error), status=422)
    where = f"{_address(view.path['experiment'])}/label"
    return see(where, **({"after": after} if after else {}), said="labelled")


async def _label(
    view: View, after: str, *, problems: Mapping[str, str] | None = None, status: int = 200
) -> web.StreamResponse:
    told = await view.ask(draw_label, query={"after": after})
    return await view.render(
        "experiments/label.html",
        status=status,
        one=told["experiment"],
        after=after,
        problems=problems or {},
        **{name: told[name] for name in ("to_label", "passed", "labelled", "criteria")},
    )


def _value(criterion: Criterion, text: str) -> Any:
    if criterion.kind == "boolean":
        return {"yes": True, "no": False}.get(text, text)
    if criterion.kind == "choice":
        return text
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return text


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else otherwise


# -- to keep -----------------------------------------------------------------------------------------------


@page("GET", "/experiments/{experiment}/report")
async def show_report(view: View) -> web.StreamResponse:
    """The results on one page, to be printed."""
    one = (await view.ask(api.show_experiment))["experiment"]
    if one["status"] == "draft":
        raise NotFound(f"{one['id']} has not started: there is nothing to report yet")
    return await view.render("experiments/print.html", one=one, **await _results(view, one))


@page("GET", "/experiments/{experiment}/export")
async def export(view: View) -> web.StreamResponse:
    """Every call, or the report, as a file."""
    return await view.download(export_calls, {"format": view.query.get("format", "csv")})


def _address(name: str) -> str:
    return f"/experiments/{quote(name, safe='')}"


PAGES = (
    show_experiments,
    show_one,
    start,
    pause,
    resume,
    stop,
    apply,
    delete,
    show_sample,
    show_label,
    label,
    show_report,
    export,
)
