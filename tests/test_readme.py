"""What the documents say is checked: commands exist, endpoints and verbs are all documented, examples are good."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import typer

from gateway.cli import app
from gateway.cli.campaigns import read_settings
from gateway.drafts import check, read_files, read_folders
from gateway.http.api import ENDPOINTS
from gateway.model import Snapshot
from gateway.terms import Again, Detection, Machine, Terms

ROOT = Path(__file__).parent.parent


def verbs(group: typer.Typer = app, prefix: str = "gateway") -> list[str]:
    found = [
        f"{prefix} {command.name or command.callback.__name__}"
        for command in group.registered_commands
        if command.callback
    ]
    for one in group.registered_groups:
        if one.typer_instance is not None:
            found += verbs(one.typer_instance, f"{prefix} {one.name}")
    return found


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_is_documented_and_has_help(verb: str) -> None:
    assert f"`{verb}`" in (ROOT / "docs/reference/command-line.md").read_text()
    command = [sys.executable, "-m", *verb.split(), "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Usage" in told.stdout


@pytest.mark.parametrize("one", ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
def test_every_endpoint_is_documented(one: object) -> None:
    text = (ROOT / "docs/reference/http-api.md").read_text()
    method, path = one.method, one.path  # type: ignore[attr-defined]
    short = "…/" + path.rpartition("/")[2]
    assert f"{method} {path}`" in text or f"{method} {path}`," in text or f"`{short}`" in text


@pytest.mark.parametrize("name", [*Terms.model_fields, *get_args(Again), *get_args(Machine), *get_args(Detection)])
def test_every_setting_of_a_campaign_is_documented(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/reference/campaigns.md").read_text()


@pytest.mark.parametrize("page", ["docs/how-to/first-campaign.md", "docs/reference/campaigns.md"])
def test_every_command_of_a_campaign_that_is_shown_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    shown = re.findall(r"gateway (campaign [a-z]+|serve|dialing [a-z]+)", text)
    assert shown
    assert {f"gateway {command}" for command in shown} <= set(verbs())
    for pair in re.findall(r"-s '?([a-z_.]+=[^ '`\n]+)", text):
        Terms.model_validate(read_settings([pair]))


README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("command", re.findall(r"^gateway ([a-z]+ ?[a-z]*)", README, re.MULTILINE))
def test_every_command_in_the_readme_exists(command: str) -> None:
    assert any(f"gateway {command.strip()} ".startswith(f"{verb} ") for verb in verbs())


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_the_examples_are_good() -> None:
    files = read_folders(ROOT / "routes", ROOT / "config/agents")
    assert len(files) >= 4
    check(read_files(files), Snapshot())


def test_the_route_in_the_readme_is_good() -> None:
    block = re.search(r"```toml\n(# routes/support.toml.*?)```", README, re.DOTALL)
    assert block is not None
    assert tomllib.loads(block[1])["direction"] == "inbound"
    read_files({"routes/support.toml": block[1]})


def test_every_linked_document_exists() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"


def test_every_picture_is_shown_and_none_is_large() -> None:
    pictures = {one.name: one.stat().st_size for one in (ROOT / "docs/images").glob("*.png")}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = {name for page in pages for name in re.findall(r"images/([\w-]+\.png)\)", page.read_text())}
    assert shown == set(pictures)
    assert {name: size for name, size in pictures.items() if size > 300_000} == {}
    assert len(re.findall(r"images/[\w-]+\.png\)", (ROOT / "README.md").read_text())) == 4
