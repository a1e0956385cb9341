"""Whether a judge may know or favour whom it judges: families of models, and versions named in a question. Pure."""

import re
from collections.abc import Iterable, Mapping

# The words by which models of one maker are known; whatever else is its own family by its first word.
_FAMILIES: Mapping[str, str] = {
    "chatgpt": "gpt",
    "o1": "gpt",
    "o3": "gpt",
    "o4": "gpt",
    "gemma": "gemini",
    "mixtral": "mistral",
    "ministral": "mistral",
    "magistral": "mistral",
    "qwq": "qwen",
}
_KNOWN = frozenset(
    (*_FAMILIES, *_FAMILIES.values(), "claude", "llama", "deepseek", "grok", "command", "phi", "nova", "granite")
)


def family_of(model: str) -> str:
    """The family of a model by its name: ``gpt`` of ``openai/gpt-4o-mini``, ``llama`` of ``Meta-Llama-3.1-70B``."""
    words = re.findall(r"[a-z]+[0-9]*|[0-9]+", model.lower().rpartition("/")[2])
    for word in words:
        for name in (word, word.rstrip("0123456789")):
            if name in _KNOWN:
                return _FAMILIES.get(name, name)
    return words[0] if words else ""


def versions_named(question: str, served: Mapping[str, tuple[str, str]]) -> list[str]:
    """The versions (``support@4``) and arms (``Version B``) that a question names; ``served`` is by arm."""
    names: Iterable[str] = dict.fromkeys(version for version, _ in served.values())
    found = [name for name in names if re.search(rf"(?<![\w@-]){re.escape(name)}(?!\d)", question, re.IGNORECASE)]
    arms = (f"Version {arm.upper()}" for arm in sorted(served))
    return found + [name for name in arms if re.search(rf"\b[Vv]ersion {name[-1]}\b", question)]
