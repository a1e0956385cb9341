"""Verbs of routes: the folders of files on one side, the live state on the other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from gateway.cli.terminal import AsJson, ask, err, out, show
from gateway.errors import Invalid
from gateway.model import Snapshot

if TYPE_CHECKING:
    from gateway.client import GatewayClient

group = typer.Typer(no_args_is_help=True, help="Check, plan and publish routes and agents from files.")

RoutesFolder = Annotated[Path, typer.Option("--routes", help="The folder of route files.")]
AgentsFolder = Annotated[Path, typer.Option("--agents", help="The folder of agent files.")]
_ROUTES, _AGENTS = Path("routes"), Path("config/agents")


@group.command("check")
def check_routes(routes_folder: RoutesFolder = _ROUTES, agents_folder: AgentsFolder = _AGENTS) -> None:
    """Read the folders as the server does and print every problem; needs no server and no network."""
    from gateway.drafts import check, read_files

    files = _files(routes_folder, agents_folder)
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("reading", total=len(files))
        draft = read_files(files, lambda done, _: progress.update(task, completed=done))
    check(draft, Snapshot())
    out.print(f"{len(files)} files, no problem")


@group.command("plan")
def plan_routes(
    routes_folder: RoutesFolder = _ROUTES, agents_folder: AgentsFolder = _AGENTS, as_json: AsJson = False
) -> None:
    """Show what publishing the folders would change in the live state."""
    files = _files(routes_folder, agents_folder)
    answer = ask(lambda gateway: gateway.post("/routes/plan", {"files": files}))
    if not as_json and not answer["changes"]:
        out.print("nothing would change")
        return
    show(answer, as_json, *map(_change, answer["changes"]), head=("file", "action", "test", "what"))


@group.command("publish")
def publish_routes(
    message: Annotated[str, typer.Option("-m", "--message", help="Why; it stands in the history.")],
    routes_folder: RoutesFolder = _ROUTES,
    agents_folder: AgentsFolder = _AGENTS,
    overwrite: Annotated[
        list[str] | None, typer.Option(help="A file whose unexported live revision may be overwritten.")
    ] = None,
    allow_removal: Annotated[bool, typer.Option(help="Remove live routes and agents that have no file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Publish the folders: all of them, in one transaction, or nothing."""
    files = _files(routes_folder, agents_folder)
    wanted = {"files": files, "message": message, "overwrite": overwrite or [], "allow_removal": allow_removal}

    async def work(gateway: "GatewayClient") -> Any:
        plan = await gateway.post("/routes/plan", {"files": files, "allow_removal": allow_removal})
        return await gateway.post("/routes/publish", {**wanted, "bases": plan["bases"]})

    answer = ask(work)
    if not as_json and not answer["changes"]:
        out.print("nothing to publish: the live state is the same")
        return
    rows = map(_change, answer["changes"])
    title = f"publication {answer['publication']}"
    show(answer, as_json, *rows, head=("file", "action", "test", "what"), title=title)


@group.command("rollback")
def roll_back(
    route: str,
    to: Annotated[int, typer.Option(help="The revision whose body is to be live again.")],
    message: Annotated[str, typer.Option("-m", "--message", help="Why.")] = "",
) -> None:
    """Publish an old revision's body as a new revision."""
    answer = ask(lambda gateway: gateway.post(f"/routes/{route}/rollback", {"to": to, "message": message}))
    out.print(f"publication {answer['publication']}: {route} is as it was in revision {to}")


@group.command("export")
def export_routes(routes_folder: RoutesFolder = _ROUTES, agents_folder: AgentsFolder = _AGENTS) -> None:
    """Write the live state back as files; comments are kept."""
    from gateway.drafts import key_of, read_folders

    files = read_folders(routes_folder, agents_folder)
    answer = ask(lambda gateway: gateway.post("/routes/export", {"files": files}))
    folders = {"route": routes_folder, "agent": agents_folder}
    for place, text in answer["files"].items():
        kind, name = key_of(place)
        folders[kind].mkdir(parents=True, exist_ok=True)
        path = folders[kind] / f"{name}.toml"
        if files.get(place) != text:
            path.write_text(text, encoding="utf-8")
            out.print(f"wrote {path}")


@group.command("list")
def list_routes(as_json: AsJson = False) -> None:
    """Show every live route and what it is doing."""
    answer = ask(lambda gateway: gateway.get("/routes"))
    rows = [
        [
            one["name"],
            one["direction"],
            ", ".join(one["numbers"]),
            f"held: {one['hold']['to']}" if one["hold"] else one["serving"],
            "  ".join(f"{arm['arm']} {arm['share']:.0%} {arm['version']}" for arm in one["arms"]),
        ]
        for one in answer["routes"]
    ]
    show(answer, as_json, *rows, head=("route", "direction", "numbers", "serving", "arms"))


def _files(routes_folder: Path, agents_folder: Path) -> dict[str, str]:
    from gateway.drafts import read_folders

    files = read_folders(routes_folder, agents_folder)
    if not files:
        raise Invalid(f"there are no files in {routes_folder} and {agents_folder}")
    return files


def _change(change: dict[str, Any]) -> list[str]:
    return [change["place"], change["action"], change["test"] or "", "\n".join(change["lines"])]
