"""Routes of jobs and evaluations."""

import copy
import secrets
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from datalabs_testing.nomad import jobs
from datalabs_testing.nomad.feasibility import Metrics, demand_of
from datalabs_testing.nomad.http import NomadError, Page, Routes, body_of, read, written
from datalabs_testing.nomad.quick_json import dumps
from datalabs_testing.nomad.records import RUNNING, Allocation, Evaluation, Job
from datalabs_testing.nomad.state import (
    ALLOCATIONS,
    EVALUATIONS,
    JOBS,
    SUMMARIES,
    allocation_text,
    job_text,
)

PAYLOAD = 16 * 1024


class JobRoutes(Routes):
    """`/v1/jobs`, `/v1/job/…`, `/v1/evaluations`, `/v1/evaluation/…`."""

    def register(self, router: web.UrlDispatcher) -> None:
        """Serve them."""
        self.add(router, "GET POST PUT", "/v1/jobs", self._jobs, "list-jobs")
        self.add(router, "POST PUT", "/v1/jobs/parse", self._parse, "parse-job")
        self.add(router, "GET", "/v1/job/{id:.+}/allocations", self._allocations, "read-job")
        self.add(router, "GET", "/v1/job/{id:.+}/evaluations", self._evaluations_of, "read-job")
        self.add(router, "GET", "/v1/job/{id:.+}/deployments", self._deployments, "read-job")
        self.add(router, "GET", "/v1/job/{id:.+}/summary", self._summary, "read-job")
        self.add(router, "POST PUT", "/v1/job/{id:.+}/plan", self._plan, "submit-job")
        self.add(router, "POST PUT", "/v1/job/{id:.+}/dispatch", self._dispatch, "dispatch-job")
        self.add(router, "POST PUT", "/v1/job/{id:.+}/evaluate", self._evaluate, "read-job")
        self.add(router, "GET POST PUT DELETE", "/v1/job/{id:.+}", self._job, "read-job")
        self.add(router, "GET", "/v1/deployments", self._deployments, "read-job")
        self.add(router, "GET", "/v1/evaluations", self._evaluations, "read-job")
        self.add(router, "GET", "/v1/evaluation/{id}", self._evaluation, "read-job")

    # -- reading -------------------------------------------------------------------------------------------------------

    async def _jobs(self, request: web.Request) -> web.Response:
        if request.method != "GET":
            return await self._register(request)
        index = await self.blocking(request, (JOBS,), JOBS, SUMMARIES)
        meta = request.query.get("meta") == "true"

        def rows() -> Iterable[Page]:
            for job in self.state.jobs_by(request.query.get("prefix", ""), self.namespaces(request)):
                yield _job_page(job, meta=meta)

        return self.listing(request, index, rows())

    async def _job(self, request: web.Request) -> web.Response:
        if request.method == "DELETE":
            return self._deregister(request)
        if request.method != "GET":
            return await self._register(request)
        key = self._key(request)
        await self.blocking(request, (JOBS, *key), JOBS)
        job = self.state.jobs.get(key)
        if job is None:
            raise NomadError(404, "job not found", index=self.state.index_of(JOBS))
        return read(job.full(), job.modify_index)

    async def _summary(self, request: web.Request) -> web.Response:
        key = self._key(request)
        await self.blocking(request, (SUMMARIES,), SUMMARIES)
        job = self.state.jobs.get(key)
        if job is None:
            raise NomadError(404, "job not found", index=self.state.index_of(JOBS))
        return read(job.summary(), job.summary_index or job.modify_index)

    async def _allocations(self, request: web.Request) -> web.Response:
        key = self._key(request)
        index = await self.blocking(request, (ALLOCATIONS, *key), ALLOCATIONS)
        job = self.state.jobs.get(key)
        found: list[Allocation] = list(job.allocations.values()) if job else []
        return read(f"[{','.join(allocation_text(one) for one in found)}]", index)

    async def _evaluations_of(self, request: web.Request) -> web.Response:
        key = self._key(request)
        index = await self.blocking(request, (EVALUATIONS, *key), EVALUATIONS)
        return read([one.json() for one in reversed(self.state.evaluations_of.get(key, []))], index)

    async def _evaluations(self, request: web.Request) -> web.Response:
        index = await self.blocking(request, (EVALUATIONS,), EVALUATIONS)
        wanted = self.namespaces(request)
        status, job = request.query.get("status", ""), request.query.get("job", "")
        found = [
            one
            for one in self.state.evaluations.values()
            if (not wanted or one.namespace in wanted)
            and (not status or one.status == status)
            and (not job or one.job_id == job)
        ]
        return self.listing(request, index, (_evaluation_page(one) for one in found))

    async def _evaluation(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        index = await self.blocking(request, (EVALUATIONS, name), EVALUATIONS)
        found = self.state.evaluations.get(name)
        if found is None:
            raise NomadError(404, "eval not found", index=index)
        return read(found.json(), index)

    async def _deployments(self, request: web.Request) -> web.Response:
        del request
        return read([], 0)

    def _key(self, request: web.Request) -> tuple[str, str]:
        return self.namespace(request), request.match_info["id"]

    # -- writing -------------------------------------------------------------------------------------------------------

    async def _parse(self, request: web.Request) -> web.Response:
        del request
        raise NomadError(500, "the emulated agent reads no HCL")

    async def _register(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        given = body.get("Job")
        if not isinstance(given, dict):
            raise NomadError(400, "Job must be specified")
        spec = self._judged(request, given)
        before = self.state.jobs.get((spec["Namespace"], spec["ID"]))
        if body.get("EnforceIndex"):
            _enforce(int(body.get("JobModifyIndex") or 0), before)
        if self.state.scheduler["RejectJobRegistration"]:
            raise NomadError(
                403,
                "Permission denied: job registration, dispatch, and scale are disabled by the scheduler configuration",
            )
        job, evaluation = self._put(spec, before)
        answer = {
            "EvalCreateIndex": self.state.index,
            "EvalID": evaluation.id if evaluation else "",
            "JobModifyIndex": job.modify_index if before is not None else job.job_modify_index,
            "Warnings": jobs.warnings_of(spec),
        }
        return written(answer, self.state.index)

    def _judged(self, request: web.Request, given: dict[str, Any]) -> dict[str, Any]:
        spec = jobs.completed(given)
        if "namespace" in request.query:
            spec["Namespace"] = self.namespace(request)
        try:
            jobs.validated(spec, namespaces=self.state.namespaces, pools=self.state.pools)
        except jobs.InvalidJobError as error:
            raise NomadError(500, str(error)) from None
        return spec

    def _put(self, spec: dict[str, Any], before: Job | None) -> tuple[Job, Evaluation | None]:
        state, planner = self.state, self.fake.planner
        same = before is not None and not before.stop and jobs.unchanged(before.spec, spec)
        child = spec["ParameterizedJob"] is not None or spec["Periodic"] is not None
        with state.write("JobRegistered", JOBS, EVALUATIONS) as change:
            job = before
            if job is None:
                job = Job(spec=spec, create_index=change.index, modify_index=0, job_modify_index=0)
            if not same:
                if before is not None:
                    job.spec, job.version, job.stop = spec, before.version + 1, False
                job.job_modify_index = change.index
                job.submit_time = state.timers.now_ns()
                job.status = RUNNING if child else planner.status_of(job)
                state.put_job(change, job)
            if child:
                return job, None
            change.next_line()
            evaluation = planner.new(job, "job-register")
            state.put_evaluation(change, evaluation)
        planner.enqueue(evaluation)
        return job, evaluation

    def _deregister(self, request: web.Request) -> web.Response:
        state, planner = self.state, self.fake.planner
        job = state.jobs.get(self._key(request))
        answer = {"EvalCreateIndex": 0, "EvalID": "", "JobModifyIndex": 0}
        if job is None:
            return written({**answer, "VolumeEvalID": "", "VolumeEvalIndex": 0}, 0)
        purge = request.query.get("purge", "").lower() in {"true", "1"}
        alive = [one for one in job.allocations.values() if not one.terminal]
        with state.write("JobDeregistered", JOBS, EVALUATIONS) as change:
            waits = planner.blocked.pop(job.key, None)
            if waits is not None:
                waits.status = "canceled"
            job.stop = True
            job.submit_time = state.timers.now_ns()
            job.job_modify_index = change.index
            if purge:
                state.drop_job(change, job)
            else:
                state.put_job(change, job)
            change.next_line()
            evaluation = planner.new(job, "job-deregister")
            state.put_evaluation(change, evaluation)
            planner.settle(change, job)
        if purge:
            for allocation in alive:
                self.fake.clients.stop(allocation)
        planner.enqueue(evaluation)
        answer = {"EvalCreateIndex": state.index, "EvalID": evaluation.id, "JobModifyIndex": state.index}
        return written({**answer, "VolumeEvalID": "", "VolumeEvalIndex": 0}, state.index)

    async def _evaluate(self, request: web.Request) -> web.Response:
        job = self.state.jobs.get(self._key(request))
        if job is None:
            raise NomadError(500, "job not found")
        evaluation = self.fake.planner.new(job, "job-register")
        with self.state.write("EvaluationUpdated", EVALUATIONS) as change:
            self.state.put_evaluation(change, evaluation)
        self.fake.planner.enqueue(evaluation)
        answer = {
            "EvalCreateIndex": self.state.index,
            "EvalID": evaluation.id,
            "JobModifyIndex": job.job_modify_index,
        }
        return written({**answer, "Warnings": ""}, self.state.index)

    async def _plan(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        given = body.get("Job")
        if not isinstance(given, dict):
            raise NomadError(400, "Job must be specified")
        spec = self._judged(request, given)
        failed: dict[str, Any] = {}
        for group in spec["TaskGroups"]:
            demand = demand_of(spec, group)
            metrics = Metrics(demand.pool)
            if self.fake.planner.would_fit(demand, metrics) is None:
                failed[group["Name"]] = metrics.json()
        before = self.state.jobs.get((spec["Namespace"], spec["ID"]))
        answer = {
            "Annotations": None,
            "CreatedEvals": None,
            "Diff": None,
            "FailedTGAllocs": failed or None,
            "JobModifyIndex": before.job_modify_index if before else 0,
            "NextPeriodicLaunch": None,
            "Warnings": jobs.warnings_of(spec),
        }
        return written(answer, self.state.index)

    async def _dispatch(self, request: web.Request) -> web.Response:
        parent = self.state.jobs.get(self._key(request))
        if parent is None:
            raise NomadError(500, "parameterized job not found")
        rules = parent.spec["ParameterizedJob"]
        if rules is None:
            raise NomadError(500, f'Specified job "{parent.key[1]}" is not a parameterized job')
        body = await body_of(request)
        token = request.query.get("idempotency_token", "")
        if token:
            for other in self.state.jobs_by(f"{parent.key[1]}/", frozenset({parent.key[0]})):
                if other.spec["DispatchIdempotencyToken"] == token:
                    return written(
                        {
                            "DispatchedJobID": other.key[1],
                            "EvalID": "",
                            "EvalCreateIndex": 0,
                            "JobCreateIndex": other.create_index,
                        },
                        self.state.index,
                    )
        meta = body.get("Meta") or {}
        allowed = [*(rules.get("MetaRequired") or []), *(rules.get("MetaOptional") or [])]
        if not set(meta) <= set(allowed):
            unknown = sorted(set(meta) - set(allowed))
            raise NomadError(
                500, f"Dispatch request included unpermitted metadata keys: [{' '.join(unknown)}]"
            )
        if not set(rules.get("MetaRequired") or []) <= set(meta):
            raise NomadError(500, "Dispatch did not provide required meta keys")
        if len(body.get("Payload") or "") > PAYLOAD * 4 // 3:
            raise NomadError(500, "Payload exceeds maximum size")
        spec = copy.deepcopy(parent.spec)
        name = f"{parent.key[1]}/dispatch-{int(self.state.timers.now())}-{secrets.token_hex(4)}"
        spec |= {"ID": name, "Name": name, "ParentID": parent.key[1], "Dispatched": True}
        spec |= {"ParameterizedJob": None, "DispatchIdempotencyToken": token, "Payload": body.get("Payload")}
        spec["Meta"] = {**(spec["Meta"] or {}), **meta}
        job, evaluation = self._put(spec, None)
        answer = {"DispatchedJobID": name, "EvalID": evaluation.id if evaluation else ""}
        return written(
            {**answer, "EvalCreateIndex": self.state.index, "JobCreateIndex": job.create_index},
            self.state.index,
        )


def _enforce(index: int, before: Job | None) -> None:
    if before is None and index:
        raise NomadError(500, f"Enforcing job modify index {index}: job does not exist")
    if before is not None and not index:
        raise NomadError(500, "Enforcing job modify index 0: job already exists")
    if before is not None and index != before.job_modify_index:
        raise NomadError(
            500,
            f"Enforcing job modify index {index}: job exists with conflicting job modify index: {before.job_modify_index}",
        )


def _job_page(job: Job, *, meta: bool) -> Page:
    return Page(job.full, lambda: job_text(job, meta=meta), f"{job.key[0]}.{job.key[1]}")


def _evaluation_page(evaluation: Evaluation) -> Page:
    return Page(evaluation.json, lambda: dumps(evaluation.json()), evaluation.id)
