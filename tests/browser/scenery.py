"""Fills a gateway with two weeks of an operator's life, so that every page of the console has something to show."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.demo import BEHAVIOURS
from gateway.settings import Settings
from gateway.simulator import Behaviour, Callee, Faults, Plan, RestPlan, simulate
from gateway.storage.ledger import PATIENCE
from gateway.wiring import wall_clock
from tests.conftest import ACCOUNT, ADMIN, TOKEN, Running, running, settings_for

ROOT = Path(__file__).parents[2]
TALKED = "CA" + "7" * 32
HOUR = 3_600_000
DAYS = 13
CALLS = {"+14155550100": 10, "+14155550101": 4, "+14155550103": 9, "+14155550104": 5}
"""How many of 28 calls come to which line."""
MORE = {
    "agents/billing.toml": """
[versions.1]
status = "published"
notes  = "Reads the whole invoice"
target = { kind = "stream", url = "wss://agents.example.com/billing/1" }
[versions.2]
status = "published"
notes  = "Asks for the invoice number first"
target = { kind = "stream", url = "wss://agents.example.com/billing/2" }
[versions.3]
status = "published"
notes  = "Names the amount, then asks"
target = { kind = "sip", uri = "sip:billing-3@agents.example.com;transport=tls" }
""",
    "agents/claims.toml": """
[versions.1]
status = "published"
target = { kind = "stream", url = "wss://agents.example.com/claims/1" }
[versions.2]
status = "published"
notes  = "Reports no outcome when the caller falls silent"
target = { kind = "stream", url = "wss://agents.example.com/claims/2" }
""",
    "routes/billing.toml": """
direction = "inbound"
numbers   = ["+14155550103", "+14155550113", "+14155550123"]
[versions]
a = "billing@1"
b = "billing@2"
c = "billing@3"
[ab_test]
enabled = true
name    = "how an invoice is opened"
split   = { a = 40, b = 30, c = 30 }
[ab_test.plan]
hypothesis = "Whoever hears the amount first asks less"
primary    = { metric = "success", better = "higher", min_effect = 0.1 }
guardrails = [{ metric = "transferred", margin = 0.1 }]
secondary  = ["duration_seconds", "sentiment"]
""",
    "routes/claims.toml": """
direction = "inbound"
numbers   = ["+14155550104"]
fallback  = { kind = "number", to = "+14155550199" }
[versions]
a = "claims@1"
b = "claims@2"
[ab_test]
enabled = true
name    = "claims by photo"
split   = { a = 50, b = 50 }
""",
    "routes/after-hours.toml": """
direction = "inbound"
numbers   = ["+14155550105"]
[versions]
a = "support@3"
b = "support@4"
[ab_test]
enabled = false
winner  = "b"
split   = { a = 50, b = 50 }
""",
}
VERSIONS = {
    **BEHAVIOURS,
    "support@3": Behaviour(success=0.58, seconds=140, transfers=0.15, refuses=0.01),
    "support@4": Behaviour(success=0.75, seconds=115, transfers=0.09, refuses=0.02, sentiment=0.35),
    "billing@1": Behaviour(success=0.52, seconds=170, transfers=0.22),
    "billing@2": Behaviour(success=0.55, seconds=150, transfers=0.2),
    "billing@3": Behaviour(success=0.81, seconds=120, transfers=0.11, sentiment=0.5),
    "claims@1": Behaviour(success=0.6, seconds=200),
    "claims@2": Behaviour(success=0.62, seconds=180, hangs=0.8),
}


@dataclass(kw_only=True)
class Clock:
    """The gateway's clock, which stands in the past until what happened then is told."""

    back: int = 0

    def __call__(self) -> int:
        return wall_clock() - self.back


def scene(home: Path, rest: int) -> tuple[Settings, RestPlan]:
    """Settings of a gateway with the example files and more, and the people whom it calls through port ``rest``."""
    # Calls come in faster here than a shared disk may take them; none of them shall go through the journal.
    PATIENCE.update(dict.fromkeys(PATIENCE, 30.0))
    shutil.copytree(ROOT / "routes", home / "routes")
    shutil.copytree(ROOT / "config/agents", home / "agents")
    for place, text in MORE.items():
        (home / place).write_text(text, encoding="utf-8")
    support = home / "routes/support.toml"
    strata = 'strata = ["new_caller", "hours"]\nalpha = 0.05'
    support.write_text(support.read_text().replace("alpha = 0.05", strata), encoding="utf-8")
    settings = settings_for(
        home,
        f"sqlite:///{home}/gateway.db",
        GATEWAY_TWILIO__API_BASE_URL=f"http://127.0.0.1:{rest}",
        GATEWAY_OUTBOUND__ALLOWED_COUNTRIES='["US"]',
        GATEWAY_OUTBOUND__WINDOW="always",
        # Twilio stamps what it tells with the time of the day of the pictures.
        GATEWAY_EXPERIMENTS__OUTCOME_WINDOW="5s",
        GATEWAY_OUTBOUND__CALLS_PER_SECOND="30",
        GATEWAY_OUTBOUND__MAX_CONCURRENT="60",
    )
    people = RestPlan(
        account=ACCOUNT,
        token=TOKEN,
        public_url=settings.server.public_url,
        agent_token=ADMIN,
        rate=1000.0,
        speed=60.0,
        callee=Callee(busy=0.12, no_answer=0.18, machine=0.06),
        behaviours=VERSIONS,
    )
    return settings, people


# -- what happened ---------------------------------------------------------------------------------------------


async def remember(settings: Settings, *, calls: int) -> None:
    """Two weeks of calls, about ``calls`` on a working day, and what operators did meanwhile."""
    clock = Clock(back=DAYS * 24 * HOUR)
    async with running(settings, wall=clock) as served:
        seed = iter(range(1, 1000))
        for day in range(DAYS, 0, -1):
            for hour, portion in ((17, 0.5), (21, 0.3), (2, 0.2)):
                clock.back = day * 24 * HOUR + _hours_since(hour) * HOUR
                await ring(served, round(calls * portion * _weekday(clock())), seed=next(seed))
            if day == 7:
                await more_to_b(served)
            if day == 3:
                reason = "C completes more calls, and nobody missed the long version"
                await served.api("POST", "/experiments/billing-1/stop", {"winner": "c", "reason": reason})
        shape = (1, 1, 1, 1, 2, 4, 8, 14, 18, 20, 17, 15, 16, 19, 21, 18, 14, 10, 7, 5, 4, 3, 2, 1)
        for hour, weight in enumerate(shape):
            clock.back = (23 - hour) * HOUR + 60_000
            await ring(served, round(calls * weight / sum(shape)) or 1, seed=next(seed))
        clock.back = 4 * 60_000
        await one_talk(served)


def _hours_since(hour: int) -> int:
    """Hours since this hour of the day in UTC last struck."""
    return (datetime.now(UTC).hour - hour) % 24


def _weekday(at: int) -> float:
    return 0.55 if datetime.fromtimestamp(at / 1000, UTC).weekday() > 4 else 1.0


async def ring(served: Running, calls: int, *, seed: int, to: dict[str, int] | None = None, **more: Any) -> None:
    """So many simulated calls, to all lines unless it is said to which."""
    numbers = tuple(number for number, weight in (to or CALLS).items() for _ in range(weight))
    plan: dict[str, Any] = {
        "public_url": served.url,
        "account": ACCOUNT,
        "token": TOKEN,
        "agent_token": ADMIN,
        "rate": 250.0,
        "speed": 50_000.0,
        "people": 1500,
        "behaviours": VERSIONS,
        "faults": Faults(twice=0.03, callback_doubled=0.03),
        **more,
    }
    await simulate(Plan(numbers=numbers, calls=calls, seed=seed, **plan))


async def more_to_b(served: Running) -> None:
    """Somebody else moves the shares of the support line."""
    token = (await served.api("POST", "/tokens", {"name": "kim", "role": "editor"})).body["token"]["secret"]
    body = (await served.api("GET", "/routes/support")).body["route"]["body"]
    body["ab_test"]["split"] = {"a": 60, "b": 40}
    await served.api(
        "PUT", "/routes/support", body, token=token, If_Match='"1"', X_Message="more calls to the short greeting"
    )


async def one_talk(served: Running) -> None:
    """One call with all there is to see of a call."""
    await served.ring(CallSid=TALKED, From="+12125550142")
    for status in ("in-progress", "completed"):
        await served.ring("/twilio/status", CallSid=TALKED, CallStatus=status, CallDuration="96")
    said = (
        ("agent", "Thank you for calling Northwind support. How can I help?"),
        ("caller", "My invoice for April shows two charges for the same seat."),
        ("agent", "I see both charges. One is a duplicate; I have refunded it, and you will get an e-mail shortly."),
        ("caller", "That was quick. Thank you!"),
    )
    lines = [{"role": role, "text": text, "at": 1.5 + 9 * place} for place, (role, text) in enumerate(said)]
    outcome = {"success": True, "sentiment": 0.8, "fields": {"intent": "billing", "csat": 5}, "transcript": lines}
    await served.api("POST", f"/calls/{TALKED}/outcome", outcome)


# -- what happens now ------------------------------------------------------------------------------------------


async def steer(served: Running) -> None:
    """What operators do on the day of the pictures."""
    refused = {"support@4": Behaviour(refuses=1.0)}
    await ring(served, 12, seed=2000, to={"+14155550100": 1}, behaviours=refused)
    for _ in range(7):
        await served.ring()
    await served.ring(To="+14155550999")
    made = (await served.api("POST", "/tokens", {"name": "noor", "role": "editor"})).body["token"]["secret"]
    await served.api("POST", "/tokens", {"name": "the wallboard", "role": "viewer", "days": 90})
    await served.api("POST", "/tokens", {"name": "support agents", "role": "agent"})
    await served.api("POST", "/routes/sales/hold", {"to": "a", "reason": "Max speaks too fast today"}, token=made)
    for number, reason in (("+12125550142", "asked not to be called"), ("+12125550177", "a wrong number")):
        await served.api("POST", "/suppressions", {"number": number, "reason": reason}, token=made)
    target = {"kind": "stream", "url": "wss://127.0.0.1:9/support/6"}  # where nobody answers
    await served.api("POST", "/agents/support/versions", {"target": target, "notes": "Answers in Spanish too"})


async def call_lists(served: Running) -> dict[str, str]:
    """Campaigns in every state; the addresses of one that runs, one that is over and one that is a draft."""
    route = (await served.api("GET", "/routes/renewals")).body["route"]
    test = route["body"]["ab_test"] | {"enabled": True}
    await served.api("PUT", "/routes/renewals", route["body"] | {"ab_test": test}, If_Match='"1"')

    async def made(name: str, first: int, count: int, verb: str = "", **settings: object) -> str:
        contacts: list[dict[str, object]] = [
            {"to": f"+1212555{number:04}", "variables": {"first_name": "Ada"}}
            for number in range(first, first + count)
        ]
        contacts[3:3] = [{"to": "555 0142"}, {"to": contacts[0]["to"]}, {"to": "+442079460000"}]
        contacts[9:9] = [{"to": f"+1212556{first + place:04}"} for place in range(4)]
        body = {"name": name, "route": "renewals", "contacts": contacts, "settings": settings}
        one = (await served.api("POST", "/campaigns", body)).body["campaign"]
        path = f"/campaigns/{one['id']}"
        if verb:
            await served.api("POST", f"{path}/{verb}")
        return path

    async def until(path: str, enough: Callable[[dict[str, Any]], bool]) -> None:
        while not enough((await served.api("GET", path)).body["campaign"]):
            await asyncio.sleep(0.2)

    over = await made("Trial users, first round", 100, 44, "start")
    await until(over, lambda one: one["status"] == "completed")
    paused = await made("Invoices overdue", 1000, 40, "start", concurrency=4)
    await until(paused, lambda one: one["counts"]["done"] >= 9)
    await served.api("POST", f"{paused}/pause", {"reason": "the script names last month"})
    await made("Renewals in June", 2000, 260, "start", start_at="2030-06-01T09:00:00-04:00", days=["mon", "tue"])
    draft = await made("Customer survey", 3000, 400, window="10:00-18:00", calls_per_second=0.5)
    retry = {"busy": "30m", "no_answer": "4h"}
    runs = await made("Renewals in May", 4000, 500, "start", concurrency=4, max_attempts=3, retry=retry)
    await until(runs, lambda one: one["counts"]["done"] >= 36)
    return {"campaign": runs, "campaign-over": over, "campaign-draft": draft, "campaign-paused": paused}
