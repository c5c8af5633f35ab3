"""Nomad for tests: an emulation on a real socket, and a harness for the real agent."""

from datalabs_testing.nomad.agent import NomadAgent, NomadUnavailableError, new_agent, running_agent
from datalabs_testing.nomad.behaviour import Behaviour
from datalabs_testing.nomad.fake import FakeNomad
from datalabs_testing.nomad.listeners import Listening
from datalabs_testing.nomad.nodes import Device, Node
from datalabs_testing.nomad.scheduler import Pace

__all__ = [
    "Behaviour",
    "Device",
    "FakeNomad",
    "Listening",
    "Node",
    "NomadAgent",
    "NomadUnavailableError",
    "Pace",
    "new_agent",
    "running_agent",
]
