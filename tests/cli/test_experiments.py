"""The verbs of experiments, from a draft to its applied winner."""

from tests.cli.shell import gateway
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
