"""Verbs of campaigns: made of a list, previewed, started, watched to the end, and exported."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live
from rich.progress import Progress

from gateway.cli.campaignview import View, preview_page, result_line
from gateway.cli.terminal import AsJson, ask, err, out, show, tell_bad_rows, upload, upload_from
from gateway.errors import Invalid

if TYPE_CHECKING:
    from gateway.client import GatewayClient

group = typer.Typer(
    no_args_is_help=True,
    help="Call the people of a list: each arm in its share, nobody twice.\n\n"
    "gateway campaign create people.csv --route renewals -s retry.busy=30m; then `preview`, `start` and `watch` with "
    "the id that it prints.",
)

Campaign = Annotated[str, typer.Argument(metavar="ID", help="The campaign's id: cmp_…")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the audit log and with the campaign.")]


@group.command("create")
def create_campaign(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="CSV with the column `to`, if wanted `timezone` and `consent`, and the agents' variables; or JSON: "
            "the contacts, or the whole campaign as the API takes it.",
        ),
    ],
    route: Annotated[str | None, typer.Option(help="The outbound route that places the calls.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call it; the file's name by default.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--setting", "-s", metavar="KEY=VALUE", help="Such as retry.busy=30m; give it several times."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Keep a list of contacts as a draft; nobody is called before `start`.

    gateway campaign create people.csv --route renewals -s max_attempts=2 -s retry.busy=30m -s window=10:00-18:00

    Bad rows are told with their line and skipped. docs/reference/campaigns.md lists the settings.
    """
    settings = read_settings(setting or [])
    if file.suffix.lower() == ".json":
        body = json.dumps(_whole(file, name=name, route=route, settings=settings)).encode()
        answer = upload_from(io.BytesIO(body), len(body), "/campaigns", kind="application/json")
    elif route is None:
        raise typer.BadParameter("a CSV file does not name its route", param_hint="--route")
    else:
        query = {"name": name or file.stem, "route": route, "settings": json.dumps(settings)}
        answer = upload(file, "/campaigns", **query)
    if as_json:
        show(answer, as_json)
        return
    made = answer["campaign"]
    tell_bad_rows(made, "more skipped")
    told = f"{made['contacts']} contacts, {made['skipped']} skipped"
    out.print(f"{made['id']}  {made['name']}: {told}", highlight=False, markup=False, soft_wrap=True)
    out.print(f"next: gateway campaign preview {made['id']}", highlight=False, soft_wrap=True)


@group.command("list")
def list_campaigns(
    status: Annotated[str | None, typer.Option(help="Only those that are so, as in running.")] = None,
    name: Annotated[str | None, typer.Option(help="Only those of exactly this name.")] = None,
    limit: int = 20,
    as_json: AsJson = False,
) -> None:
    """Show the newest campaigns."""
    answer = ask(lambda gateway: gateway.get("/campaigns", status=status, name=name, limit=limit))
    rows = [
        [
            one["id"],
            one["name"],
            one["route"],
            one["status"],
            str(one["contacts"]),
            str(one["skipped"]),
            one["reason"],
        ]
        for one in answer["campaigns"]
    ]
    show(answer, as_json, *rows, head=("id", "name", "route", "status", "contacts", "skipped", "reason"))


@group.command("preview")
def preview_campaign(campaign: Campaign, as_json: AsJson = False) -> None:
    """Tell who would be called, when and with which arm, and who not and why; nobody is called.

    Times are in this machine's time zone.
    """

    async def work(gateway: "GatewayClient") -> tuple[Any, Any, Any]:
        preview = await gateway.post(f"/campaigns/{campaign}/preview", {})
        one = (await gateway.get(f"/campaigns/{campaign}"))["campaign"]
        skipped = (await gateway.get(f"/campaigns/{campaign}/contacts", state="skipped", limit=5))["contacts"]
        return preview, one, skipped

    preview, one, skipped = ask(work)
    if as_json:
        show(preview, as_json)
    else:
        out.print(preview_page(one, preview["preview"], skipped))


@group.command("start")
def start_campaign(campaign: Campaign, as_json: AsJson = False) -> None:
    """Call its contacts, from `start_at` on if that lies ahead."""
    _move(campaign, "start", {}, as_json)


@group.command("pause")
def pause_campaign(campaign: Campaign, reason: Reason = "", as_json: AsJson = False) -> None:
    """Call nobody more of it; when this returns, nothing is sent any more, and calls under way go on."""
    _move(campaign, "pause", {"reason": reason}, as_json)


@group.command("resume")
def resume_campaign(campaign: Campaign, as_json: AsJson = False) -> None:
    """Go on where a pause left off."""
    _move(campaign, "resume", {}, as_json)


@group.command("cancel")
def cancel_campaign(campaign: Campaign, reason: Reason = "", as_json: AsJson = False) -> None:
    """End it for good; calls under way go on, nobody else is called."""
    _move(campaign, "cancel", {"reason": reason}, as_json)


@group.command("watch")
def watch_campaign(campaign: Campaign, as_json: AsJson = False) -> None:
    """Follow a campaign until it is over; Ctrl-C ends the view and not the campaign.

    With --json, one line for each change; without a terminal, plain lines.
    """

    async def work(gateway: "GatewayClient") -> None:
        view = View()
        if as_json or not out.is_terminal:
            async for one in gateway.follow(campaign):
                view.take(one)
                typer.echo(json.dumps(one, ensure_ascii=False) if as_json else view.line())
            return
        with Live(console=out, get_renderable=view.table, refresh_per_second=2):
            async for one in gateway.follow(campaign):
                view.take(one)

    try:
        ask(work)
    except KeyboardInterrupt:
        err.print(f"the campaign goes on: gateway campaign watch {campaign}", highlight=False)


@group.command("export")
def export_campaign(
    campaign: Campaign,
    file: Annotated[Path, typer.Argument(dir_okay=False, help="The CSV file to write.")],
    state: Annotated[str | None, typer.Option(help="Only waiting, dialling, done or skipped contacts.")] = None,
    result: Annotated[str | None, typer.Option(help="Only those that ended so, as in busy or consent.")] = None,
) -> None:
    """Write every contact to a CSV file: its state, result and reason, its arm and version, attempts, the last call.

    gateway campaign export cmp_… not-called.csv --state skipped
    """
    # It brings the tables of numbering plans, which `--help` need not wait for.
    from gateway.contacts import EXPORTED, exported

    # A file that is there is whole.
    part, count = file.with_name(f"{file.name}.part"), 0
    with Progress(console=err, transient=True) as progress, part.open("w", encoding="utf-8", newline="") as opened:
        task = progress.add_task("reading", total=None)

        async def work(gateway: "GatewayClient") -> None:
            nonlocal count
            one = (await gateway.get(f"/campaigns/{campaign}"))["campaign"]
            progress.update(task, total=None if state or result else one["contacts"] + one["skipped"])
            opened.write(",".join(EXPORTED) + "\r\n")
            path, which = f"/campaigns/{campaign}/contacts", {"state": state, "result": result, "limit": 1000}
            async for person in gateway.pages(path, "contacts", **which):
                opened.write(exported(person))
                count += 1
                progress.update(task, completed=count)

        try:
            ask(work)
        except BaseException:
            part.unlink()
            raise
    part.replace(file)
    out.print(f"{count} contacts written to {file}", highlight=False, markup=False, soft_wrap=True)


def read_settings(pairs: list[str]) -> dict[str, Any]:
    """The settings that ``retry.busy=30m`` writes: dots nest, and a value that is JSON is taken as such.

    Raises Invalid for a pair without a key or a value.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        if not key or not text:
            raise Invalid(f'"{pair}" is no setting: write KEY=VALUE, such as retry.busy=30m')
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        *above, last = key.split(".")
        inner = settings
        for one in above:
            inner = inner.setdefault(one, {})
            if not isinstance(inner, dict):
                raise Invalid(f'"{pair}" does not go with the settings before it: {one} is no table there')
        inner[last] = value
    return settings


def _whole(file: Path, *, name: str | None, route: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Invalid(f"{file} is not JSON: {error}") from error
    body = told if isinstance(told, dict) else {"contacts": told}
    body.setdefault("name", file.stem)
    given = {"name": name, "route": route}
    body |= {key: value for key, value in given.items() if value is not None}
    written = body.get("settings", {})
    # What is no table is the gateway's to refuse.
    return body | {"settings": written | settings} if isinstance(written, dict) else body


def _move(campaign: str, verb: str, body: dict[str, str], as_json: bool) -> None:
    answer = ask(lambda gateway: gateway.post(f"/campaigns/{campaign}/{verb}", body))
    if as_json:
        show(answer, as_json)
        return
    one = answer["campaign"]
    out.print(f"{one['id']}  {one['name']}: {result_line(one)}", highlight=False, markup=False, soft_wrap=True)
