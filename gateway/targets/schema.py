"""Which TwiML there is: the elements and attributes that twilio's own classes can make, found by asking them."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from xml.etree import ElementTree

from twilio.twiml import TwiML  # type: ignore[import-untyped, unused-ignore]
from twilio.twiml.voice_response import VoiceResponse  # type: ignore[import-untyped, unused-ignore]

SIZE_LIMIT = 64_000
"""Twilio takes a TwiML document of up to 64 kB (error 11750)."""

_XML_NAMESPACE = "{http://www.w3.org/XML/1998/namespace}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Element:
    """One element in its place: its attributes, and the twilio class that knows its children."""

    made_by: type[Any]
    attributes: frozenset[str]


@cache
def children(parent: type[Any]) -> Mapping[str, Element]:
    """The elements that may stand inside a TwiML class's own, by name.

    Each method of the class makes one kind of child; called with every argument filled, the child shows which
    of them became attributes, under the names that go out.
    """
    found = {}
    for name, method in vars(parent).items():
        if name.startswith("_"):
            continue
        bare = object.__new__(parent)
        TwiML.__init__(bare)
        arguments = [
            argument.name
            for argument in inspect.signature(method).parameters.values()
            if argument.kind is argument.POSITIONAL_OR_KEYWORD
        ]
        child = method(bare, **dict.fromkeys(arguments[1:], "x"))
        found[child.name] = Element(made_by=type(child), attributes=frozenset(child.attrs))
    return found


def twiml_problems(text: str) -> list[str]:
    """Every reason why Twilio would refuse a document or stumble over it, as sentences; none when it is TwiML."""
    if (size := len(text.encode(errors="replace"))) > SIZE_LIMIT:
        return [f"has {size} bytes; Twilio takes up to {SIZE_LIMIT}"]
    if "<!DOCTYPE" in text:
        return ["must not declare a document type"]
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  (entities need a document type)
    except (ElementTree.ParseError, ValueError) as error:
        return [f"is not well-formed XML: {error}"]
    if root.tag != "Response":
        return [f"must begin with <Response>, not <{root.tag}>"]
    return list(_misfits(root, Element(made_by=VoiceResponse, attributes=frozenset())))


def _misfits(node: ElementTree.Element, element: Element) -> Iterator[str]:
    for key in node.attrib:
        attribute = key.replace(_XML_NAMESPACE, "xml:")
        if attribute not in element.attributes:
            yield f"<{node.tag}> has no attribute {attribute}{_among(element.attributes)}"
    known = children(element.made_by)  # type: ignore[arg-type, unused-ignore]  # mypy finds a class unhashable
    for child in node:
        if child.tag in known:
            yield from _misfits(child, known[child.tag])
        else:
            yield f"<{node.tag}> takes no <{child.tag}>{_among(known)}"


def _among(names: Mapping[str, Any] | frozenset[str]) -> str:
    return f"; it takes {', '.join(sorted(names))}" if names else ""
