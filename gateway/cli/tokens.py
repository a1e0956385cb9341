"""Verbs of API tokens."""

from typing import Annotated

import typer

from gateway.cli.terminal import AsJson, ask, out, show

group = typer.Typer(no_args_is_help=True, help="Make and revoke API tokens.")


@group.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """Show every token, without its secret."""
    answer = ask(lambda gateway: gateway.get("/tokens"))
    rows = [
        [one["id"], one["name"], one["role"], "revoked" if one["revoked_at"] else "live"] for one in answer["tokens"]
    ]
    show(answer, as_json, *rows, head=("id", "name", "role", "state"))


@group.command("create")
def create_token(name: str, role: Annotated[str, typer.Option(help="viewer, editor, admin or agent")]) -> None:
    """Make a token and print it, once."""
    answer = ask(lambda gateway: gateway.post("/tokens", {"name": name, "role": role}))
    typer.echo(answer["token"]["secret"])


@group.command("revoke")
def revoke_token(token: Annotated[str, typer.Argument(help="The token's id, as listed.")]) -> None:
    """Revoke a token at once."""
    ask(lambda gateway: gateway.delete(f"/tokens/{token}"))
    out.print(f"{token} is revoked")
