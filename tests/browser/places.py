"""The pages of the dashboard by name: once for the running product, for pictures, and for the platform of fixtures.

`{lab}` runs, `{ended}` does not, `{trace}` is the launch of `{lab}`; the fixtures have labs in every other state, too.
"""

from dataclasses import dataclass

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
FIXTURES = {"lab": "k3v9x2mnpq", "ended": "e9tp5cxr2g", "trace": TRACE}
"""What the names in the paths are in the world of fixtures."""


@dataclass(frozen=True)
class Place:
    """A page; `who` is signed in there, nobody when it is empty."""

    path: str
    who: str = "ada"
    fixtures_only: bool = False
    """It shows what a running product seldom has: a queue, a crowd, failures."""

    def at(self, names: dict[str, str]) -> str:
        """Return the address on a site where the names are these."""
        return self.path.format(**names)


def _fixture(path: str, who: str = "ada") -> Place:
    return Place(path, who, fixtures_only=True)


PLACES: dict[str, Place] = {
    "sign-in": Place("/sign-in", ""),
    "catalogue": Place("/catalogue"),
    "search": Place("/catalogue?q=earth"),
    "nothing-found": Place("/catalogue?q=jupiterlab"),
    "catalogue-crowd": _fixture("/catalogue?kind=%5B%22desktop%22%5D", "crowd"),
    "datalab": Place("/datalabs/jupyterlab"),
    "launch-link": Place("/launch/terminal?size=medium"),
    "launch-queue": _fixture("/launch/report?size=large"),
    "launch-never": _fixture("/launch/jupyterlab?size=huge"),
    "launching": _fixture("/labs/p2hd8rky6v/launching"),
    "launching-queued": _fixture("/labs/c5nf3gjx9e/launching"),
    "launching-failed": _fixture("/labs/w8ye2sqt4h/launching"),
    "labs": Place("/labs"),
    "labs-fresh": _fixture("/labs", "fresh"),
    "lab": Place("/labs/{lab}"),
    "lab-ended": Place("/labs/{ended}"),
    "lab-failed": _fixture("/labs/w8ye2sqt4h"),
    "lab-queued": _fixture("/labs/c5nf3gjx9e"),
    "lab-foreign": _fixture("/labs/zzzzzzzzzz"),
    "data": Place("/data"),
    "collection": Place("/data/iers"),
    "usage": Place("/usage"),
    "usage-fresh": _fixture("/usage", "fresh"),
    "forbidden": _fixture("/operations"),
    "not-found": Place("/nowhere"),
    "operations": Place("/operations", "admin"),
    "nodes": Place("/operations/nodes", "admin"),
    "queue": Place("/operations/queue", "admin"),
    "preparation": Place("/operations/preparation", "admin"),
    "people": Place("/operations/people", "admin"),
    "person": Place("/operations/people?person=ada", "admin"),
    "events": Place("/operations/events", "admin"),
    "traces": Place("/operations/traces", "admin"),
    "trace": Place("/operations/traces/{trace}", "admin"),
    "trace-span": _fixture(f"/operations/traces/{TRACE}?span=b900000000000000", "admin"),
    "dead-letters": Place("/operations/dead-letters", "admin"),
}
PRODUCT = {name: place for name, place in PLACES.items() if not place.fixtures_only}
"""Pages that a running product can show."""
