"""The verbs of experiments, from a draft to its applied winner."""

import json
from pathlib import Path

from tests.cli.shell import gateway
from tests.conftest import Running
from tests.test_experiments import Lab, lab

__all__ = ["lab"]


async def test_a_test_is_run_from_the_shell(lab: Lab) -> None:
    code, said = await gateway(lab.served, "experiments", "list")
    assert (code, "support-1" in said, "draft" in said) == (0, True, True)
    code, said = await gateway(lab.served, "experiments", "start", "support-1", "-m", "the board agreed")
    assert (code, "support-1 is running" in said) == (0, True), said
    code, said = await gateway(lab.served, "experiments", "start", "support-1")
    assert (code, "support-1" in said, "stop it first" in said) == (1, True, True)
    code, said = await gateway(lab.served, "experiments", "pause", "support-1")
    assert "support-1 is paused; Version A serves" in said
    code, said = await gateway(lab.served, "experiments", "resume", "support-1")
    assert "support-1 is running" in said
    code, said = await gateway(lab.served, "experiments", "show", "support-1")
    assert (code, "started by admin: the board agreed" in said, "primary metric success" in said) == (0, True, True)
    code, said = await gateway(lab.served, "experiments", "stop", "support-1", "--yes")
    assert "support-1 is maturing; Version A serves" in said
    code, said = await gateway(lab.served, "experiments", "apply", "support-1")
    assert (code, "name the arm" in said) == (1, True)
    code, said = await gateway(lab.served, "experiments", "apply", "support-1", "--winner", "b")
    assert code == 0, said
    code, said = await gateway(lab.served, "experiments", "delete", "support-1")
    assert (code, "only a stopped experiment" in said) == (1, True)


async def test_a_start_needs_its_zone(lab: Lab) -> None:
    code, said = await gateway(lab.served, "experiments", "start", "support-1", "--at", "2100-01-01T09:00")
    assert (code, "its zone" in said) == (1, True)
    code, said = await gateway(lab.served, "experiments", "start", "support-1", "--at", "2100-01-01T09:00+01:00")
    assert (code, "support-1 is scheduled; Version A serves" in said) == (0, True), said


async def reported(served: Running, count: int) -> None:
    for place in range(count):
        sid = f"CA{place:032x}"
        await served.ring(CallSid=sid, From=f"+1212555{place:04d}")
        said = [{"role": "caller", "text": f"[bold]call {place}[/bold]"}]
        told = {"success": place % 3 > 0, "fields": {"intent": "billing"}, "transcript": said, "final": True}
        assert (await served.api("POST", f"/calls/{sid}/outcome", told)).status == 200


async def test_results_are_read_in_the_terminal(lab: Lab) -> None:
    await lab.plan(primary={"metric": "success", "min_effect": 0.05})
    await lab.do("start")
    await reported(lab.served, 60)
    results = (await lab.served.api("GET", "/experiments/support-1/results")).body
    code, said = await gateway(lab.served, "experiments", "results", "support-1")
    assert code == 0, said
    assert results["verdict"]["text"] in said
    for one in results["health"]:
        assert (f"{one['status'].upper():5} {one['text']}" in said) is (one["status"] != "ok")
    success = next(one for one in results["metrics"] if one["name"] == "success")
    for arm in success["arms"].values():
        assert f"{arm['mean'] * 100:.1f} %" in said
    assert f"{success['effects']['b']['difference'] * 100:+.1f} points".replace("-", "−") in said
    assert "intent" in said
    code, told = await gateway(lab.served, "experiments", "results", "support-1", "--json")
    assert json.loads(told)["verdict"] == results["verdict"]
    code, said = await gateway(lab.served, "experiments", "samples", "support-1", "-n", "2")
    assert (code, said.count("[bold]call ")) == (0, 4), said


async def test_a_plan_is_asked_for_in_the_terminal(lab: Lab) -> None:
    code, said = await gateway(lab.served, "experiments", "plan", "--calls-per-day", "400")
    assert (code, "3,130" in said, "5,165" in said, "14" in said) == (0, True, True, True), said
    code, said = await gateway(
        lab.served, "experiments", "plan", "--calls-per-day", "20", "--split", "80/20", "--effect", "0.04"
    )
    assert (code, "costs of split" in said, "WARN too few calls" in said) == (0, True, True), said
    code, said = await gateway(lab.served, "experiments", "plan", "--split", "most of it")
    assert (code, "write weights such as 80/20" in said) == (1, True)


async def test_exports_and_the_report_are_written_to_files(lab: Lab, tmp_path: Path) -> None:
    await lab.do("start")
    await reported(lab.served, 5)
    for form in ("csv", "jsonl", "json", "html"):
        code, said = await gateway(lab.served, "experiments", "export", "support-1", str(tmp_path / f"calls.{form}"))
        assert (code, f"calls.{form}: " in said) == (0, True), said
    assert len((tmp_path / "calls.csv").read_text().splitlines()) == 6
    assert len((tmp_path / "calls.jsonl").read_text().splitlines()) == 5
    assert len(json.loads((tmp_path / "calls.json").read_text())["calls"]) == 5
    code, said = await gateway(lab.served, "experiments", "report", "support-1", str(tmp_path / "report.htm"))
    assert code == 0, said
    for file in ("calls.html", "report.htm"):
        assert (tmp_path / file).read_text().startswith("<!doctype html>")
    code, said = await gateway(lab.served, "experiments", "export", "support-1", "calls.xls")
    assert (code, "name it .csv" in said) == (1, True)
    code, said = await gateway(lab.served, "experiments", "export", "nothing-1", str(tmp_path / "none.csv"))
    assert (code, "there is no experiment nothing-1" in said) == (1, True)
    assert not list(tmp_path.glob("none.csv*"))
