"""The ladder of a call: who takes it, who takes it next when a handoff fails, an apology; and the TwiML of each rung.

A handoff's hop is its place on the ladder, so a repeated request always meets the same answer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway import log
from gateway.model import LiveRoute, Parameters, Served, Snapshot, Target, Version
from gateway.storage.rows import CallRow, served_in
from gateway.targets import Handoff, Template, compile_target, ends_by, handoff_url, say

_log = log.get("ladder")


@dataclass(frozen=True, kw_only=True, slots=True)
class Voice:
    """What callers hear when no agent takes them: sentences, and the target for routes without a fallback."""

    unrouted: str
    apology: str
    fallback: Target | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One rung of a call's ladder; ``target`` is None for the apology."""

    served: Served
    target: Target | None
    parameters: Parameters = ()
    variables: Parameters = ()

    @property
    def is_stream(self) -> bool:
        """Whether Twilio tells how this handoff ended by events of its stream."""
        return self.target is not None and ends_by(self.target.kind) == "stream"


_NOBODY = Served(by="none", reason="failover")


def ladder_of(
    row: CallRow,
    live: LiveRoute | None,
    versions: Mapping[str, Version],
    *,
    fallback: Target | None,
    variables: Parameters,
) -> list[Step]:
    """Every handoff a call can have, in order; the first is the one it was answered with.

    ``live`` is the route as it was when the call was assigned; ``fallback`` serves where that has none of its own.
    """

    def step(served: Served) -> Step:
        version = versions.get(served.version or "")
        target = version.target if version else None
        parameters = parameters_of(live, served.arm, served.version)
        return Step(served=served, target=target, parameters=parameters, variables=variables)

    fallback = (live.route.fallback if live else None) or fallback
    first = served_in(row)
    steps: list[Step] = []
    if row.reason is not None and first.by != "fallback":
        # A row read from the database may already name who came later: the ladder starts at the assignment.
        if first.reason in ("failover", "machine"):
            first = Served(by="version", arm=row.arm, version=row.version)
        steps.append(step(first))
        if live is not None and (control := live.route.arm("a").version) != first.version:
            steps.append(step(Served(by="version", arm="a", version=control, reason="failover")))
    if fallback is not None:
        reason = first.reason if first.by == "fallback" else "failover"
        steps.append(Step(served=Served(by="fallback", reason=reason), target=fallback))
    steps.append(Step(served=_NOBODY, target=None))
    return steps


def parameters_of(live: LiveRoute | None, arm: str | None, version: str | None) -> Parameters:
    """The arm's parameters, if the arm really runs the version that serves."""
    if live is None or arm is None:
        return ()
    for one in live.route.arms:
        if one.name == arm and one.version == version:
            return one.parameters
    return ()


def failed_hop(row: CallRow, ladder: list[Step], error_url: str) -> int | None:
    """Which handoff Twilio could not make, by the URL it names; None when it is none of this call's."""
    address = error_url.partition("#")[0]
    for hop, step in enumerate(ladder):
        if step.target is None:
            continue
        giving = _giving(row, step.served.version or "", hop, step.variables)
        if handoff_url(step.target, step.parameters, giving) == address:
            return hop
    return None


class Script:
    """What callers hear. A version never changes, so its TwiML is compiled once for each set of parameters."""

    def __init__(
        self, *, snapshot: Callable[[], Snapshot], voice: Voice, public_url: str, secret: Callable[[str], str]
    ) -> None:
        """``secret`` gives the text of an environment variable that a target names, or raises LookupError."""
        self._snapshot = snapshot
        self._fallback = voice.fallback
        self._public_url = public_url
        self._secret = secret
        self._templates: dict[tuple[str, Parameters], Template] = {}
        self.unrouted = say(voice.unrouted)
        self.apology = say(voice.apology)

    def standing(self, row: CallRow, version: str, live: LiveRoute | None) -> bytes | None:
        """The TwiML that hands a call to the version that it was given, or None when that cannot be made."""
        template = self._template(version, parameters_of(live, row.served_arm, version))
        return template.render(_giving(row, version, 0)) if template is not None else None

    def render(self, row: CallRow, ladder: list[Step], hop: int) -> bytes:
        """The TwiML of a rung, or of the next one that can be made."""
        for place in range(min(hop, len(ladder) - 1), len(ladder)):
            step = ladder[place]
            if step.target is None:
                continue
            version = step.served.version
            template = (
                self._template(version, step.parameters) if version is not None else self._compiled(step.target, ())
            )
            if template is not None:
                return template.render(_giving(row, version or "", place, step.variables))
        return self.apology

    def shown(self, row: CallRow, step: Step, hop: int) -> bytes:
        """The TwiML of a rung as operators may see it: secrets hidden."""
        if step.target is None:
            return self.apology
        hidden = compile_target(
            step.target, step.parameters, public_url=self._public_url, secret=lambda name: f"(secret {name})"
        )
        return hidden.render(_giving(row, step.served.version or "", hop, step.variables))

    def emergency(self, called: str) -> bytes:
        """What a caller hears when the gateway itself fails: the route's fallback, without any record."""
        live = self._snapshot().numbers.get(called)
        target = (live.route.fallback if live else None) or self._fallback
        if target is None:
            return self.apology
        try:
            template = self._compiled(target, ())
            giving = Handoff(call="unknown", version="", route="", direction="inbound", from_="", to=called, hop=9)
            return template.render(giving)
        except Exception:
            _log.exception("fallback_failed")
            return self.apology

    def _template(self, version: str, parameters: Parameters) -> Template | None:
        key = (version, parameters)
        template = self._templates.get(key)
        if template is None:
            known = self._snapshot().versions.get(version)
            if known is None:
                _log.error("version_unknown", version=version)
                return None
            template = self._compiled(known.target, parameters)
            self._templates[key] = template
        return template

    def _compiled(self, target: Target, parameters: Parameters) -> Template:
        return compile_target(target, parameters, public_url=self._public_url, secret=self._secret)


def _giving(row: CallRow, version: str, hop: int, variables: Parameters = ()) -> Handoff:
    return Handoff(row.id, version, row.route or "", row.direction, row.from_number, row.to_number, hop, variables)
