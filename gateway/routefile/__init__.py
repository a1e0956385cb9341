"""Route and agent files: TOML text on one side, checked bodies and the gateway's values on the other.

A *body* is the JSON-able content of one file in normal form: what revisions store, the API takes and gives, and
``write_toml`` writes. What is wrong is told all at once, each with its place and its cure. Nothing here reads a disk.
"""

from gateway.routefile.building import BUCKETS, build_route, build_versions
from gateway.routefile.comparing import differences, same_epoch, same_memory
from gateway.routefile.reading import read_agent, read_route, read_toml
from gateway.routefile.together import check_together, immutable_problems
from gateway.routefile.writing import write_toml

__all__ = [
    "BUCKETS",
    "build_route",
    "build_versions",
    "check_together",
    "differences",
    "immutable_problems",
    "read_agent",
    "read_route",
    "read_toml",
    "same_epoch",
    "same_memory",
    "write_toml",
]
