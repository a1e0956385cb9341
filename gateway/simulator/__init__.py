"""Plays Twilio, callers and agents against a gateway over real HTTP; it knows the gateway by its surfaces only.

It signs with Twilio's own library, retries by Twilio's rules, follows the TwiML it is given and keeps a ledger of
what it saw, so that a test can hold the gateway's books against it.
"""

from gateway.simulator.agent import Behaviour
from gateway.simulator.call import Faults
from gateway.simulator.callee import Callee
from gateway.simulator.ledger import Entry, Ledger
from gateway.simulator.listen import listen
from gateway.simulator.rest import RestFaults, RestPlan, RestSide
from gateway.simulator.run import Plan, simulate

__all__ = [
    "Behaviour",
    "Callee",
    "Entry",
    "Faults",
    "Ledger",
    "Plan",
    "RestFaults",
    "RestPlan",
    "RestSide",
    "listen",
    "simulate",
]
