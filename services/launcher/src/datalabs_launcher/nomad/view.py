"""What is known of the cluster, held in memory: told by events, put right by lists. Nothing is asked here.

Everything carries the index at which Nomad wrote it, so an event that comes twice or late changes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from datalabs_launcher.nomad import words
from datalabs_launcher.nomad.nodes import TUNED, takes_labs
from datalabs_launcher.nomad.observing import OVER, Known, moment
from datalabs_launcher.nomad.stream import Event

Document = Mapping[str, Any]
_KEPT = (
    *(
        "ID",
        "JobID",
        "NodeID",
        "NodeName",
        "ClientStatus",
        "DesiredStatus",
        "CreateIndex",
        "ModifyIndex",
        "CreateTime",
    ),
    *(
        "ModifyTime",
        "TaskStates",
        "AllocStates",
        "AllocatedResources",
        "DesiredTransition",
        "PreemptedByAllocation",
    ),
)
"""What is kept of an allocation: the whole one is some kilobytes."""


DEREGISTERED = {"JobDeregistered", "JobBatchDeregistered"}


class View:
    """Jobs of this platform and of others that are named alike, and all nodes."""

    def __init__(self, platform: str, prefix: str) -> None:
        self._platform, self._prefix = platform, prefix
        self.jobs: dict[str, Known] = {}
        self.nodes: dict[str, Document] = {}
        self.others: list[Document] = []
        self.early: set[str] = set()
        self._listed = 0
        self._forgotten: set[str] = set()

    def ours(self, known: Known) -> bool:
        """Whether a job belongs to this platform."""
        return known.meta.get("datalabs_platform") == self._platform

    def forget(self, job_id: str) -> None:
        """Drop a job that was purged; its last events are still to come."""
        self.jobs.pop(job_id, None)
        self._forgotten.add(job_id)

    # -- events ----------------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> str | None:
        """Take in one event; return the id of the job that it concerns, if that is known and ours."""
        if event.topic == "Node":
            self.note_node(event.payload)
            return None
        job_id = str(event.payload.get("ID" if event.topic == "Job" else "JobID", ""))
        if not job_id.startswith(self._prefix) or job_id in self._forgotten:
            return None
        match event.topic:
            case "Job" if event.type in DEREGISTERED and not event.payload.get("Stop"):
                self._purged(job_id)
            case "Job":
                self.note_job(event.payload)
            case "Allocation":
                self.note_allocation(event.payload)
            case "Evaluation":
                self.note_evaluation(event.payload)
            case _:
                return None
        known = self.jobs.get(job_id)
        return job_id if known is not None and self.ours(known) else None

    def _purged(self, job_id: str) -> None:
        """Take in that a job is forgotten; one of which something runs is remembered until that has ended."""
        known = self.jobs.get(job_id)
        if known is None or not known.alive:
            self.jobs.pop(job_id, None)
        else:
            known.stop = True

    def note_job(self, job: Document) -> Known:
        """Take in a job or its stub."""
        known = self.jobs.setdefault(str(job["ID"]), Known(str(job["ID"])))
        modified = int(job.get("ModifyIndex") or 0)
        if modified >= known.modified:
            known.modified = modified
            known.meta = dict(job.get("Meta") or {}) or known.meta
            known.status = str(job.get("Status") or known.status)
            known.stop = bool(job.get("Stop"))
        known.submitted_at = moment(job.get("SubmitTime")) or known.submitted_at
        return known

    def note_allocation(self, allocation: Document) -> None:
        """Take in an allocation or its stub."""
        job_id = str(allocation["JobID"])
        known = self.jobs.setdefault(job_id, Known(job_id))
        before = known.allocations.get(str(allocation["ID"]))
        if before is not None and before.get("ModifyIndex", 0) > allocation.get("ModifyIndex", 0):
            return
        kept = {name: allocation[name] for name in _KEPT if name in allocation}
        if before is not None:
            kept = {**before, **kept}
        known.allocations[str(allocation["ID"])] = kept
        known.waits = ""

    def note_evaluation(self, evaluation: Document) -> None:
        """Take in why a job waits, or that it was taken back before any machine had it: no event says that."""
        known = self.jobs.get(str(evaluation.get("JobID")))
        if known is None or known.allocations:
            return
        over = evaluation.get("Status") == "complete" and evaluation.get("TriggeredBy") == "job-deregister"
        if known.stop and over:
            known.status = "dead"
            known.changed_at = moment(evaluation.get("ModifyTime"))
        if evaluation.get("FailedTGAllocs"):
            known.waits = words.waiting_text(evaluation["FailedTGAllocs"])

    def note_node(self, node: Document) -> None:
        """Take in a node or its stub."""
        before = self.nodes.get(str(node["ID"]), {})
        if before.get("ModifyIndex", 0) <= node.get("ModifyIndex", 0):
            self.nodes[str(node["ID"])] = {**before, **node}
        if "Meta" in node:
            tuned = (node.get("Meta") or {}).get(TUNED) == "true"
            (self.early.add if tuned else self.early.discard)(str(node["ID"]))

    # -- lists -----------------------------------------------------------------------------------------------------

    def replace(
        self,
        *,
        jobs: Sequence[Document],
        allocations: Sequence[Document],
        blocked: Iterable[Document],
        others: Sequence[Document],
        index: int,
        anew: bool = False,
    ) -> None:
        """Put everything right by lists that were true at `index` or later.

        What the lists lack is gone, unless it was written after them. An index that runs backwards means another
        cluster, or one that was restored: then only the lists count. So it is with lists that were asked for `anew`,
        before any news of a new event stream was taken: what is known is older than they are, whatever its index says,
        for a cluster that lost everything may have come as far again.
        """
        if index < self._listed:
            self.jobs.clear()
            self.nodes.clear()
            self.early.clear()
        self._listed = index
        listed = {str(job["ID"]) for job in jobs}
        self._forgotten &= listed | {str(one["JobID"]) for one in allocations}
        for job_id in [
            one for one, known in self.jobs.items() if one not in listed and (anew or known.modified <= index)
        ]:
            del self.jobs[job_id]
        for job in jobs:
            if str(job["ID"]) not in self._forgotten:
                self.note_job(job)
        for allocation in allocations:
            if allocation.get("JobID") in self.jobs:
                self.note_allocation(allocation)
        for evaluation in blocked:
            self.note_evaluation(evaluation)
        self.others = list(others)

    # -- where -----------------------------------------------------------------------------------------------------

    def open_node(self, name: str) -> str | None:
        """Return the id of the one node of that name that takes labs; None where there is none, or more than one."""
        found = [one for one, node in self.nodes.items() if node.get("Name") == name and takes_labs(node)]
        return found[0] if len(found) == 1 else None

    def stranded(self) -> list[str]:
        """Return the jobs of ours that no machine has taken and that wait for one which takes nothing (any more)."""
        return [
            known.job_id
            for known in self.jobs.values()
            if known.node
            and not known.allocations
            and not known.stop
            and self.ours(known)
            and not takes_labs(self.nodes.get(known.node, {}))
        ]

    # -- what is taken ---------------------------------------------------------------------------------------------

    def by_node(self) -> defaultdict[str, tuple[list[Document], list[Document]]]:
        """Return the labs' allocations that each node holds, and those of whatever else runs there."""
        found: defaultdict[str, tuple[list[Document], list[Document]]] = defaultdict(lambda: ([], []))
        for known in self.jobs.values():
            for allocation in known.allocations.values():
                if allocation.get("ClientStatus") not in OVER:
                    found[str(allocation.get("NodeID"))][0].append(allocation)
        for allocation in self.others:
            found[str(allocation.get("NodeID"))][1].append(allocation)
        return found
