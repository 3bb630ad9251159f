"""Work in turn: a few threads, a queue with an end, and jobs that go on in the background."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from medsam_edge.errors import CancelledError, MedsamEdgeError
from medsam_edge.server import schemas
from medsam_edge.server.errors import Busy, RequestError, TooMany, Unknown
from medsam_edge.server.limits import Limits

T = TypeVar("T")
KEPT_JOBS = 256
"""Jobs that are remembered, the ended ones included."""


class Ticket(Generic[T]):
    """A place in the queue of a `Queue`, and what comes of it."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.future: Future[T]

    @property
    def place(self) -> int:
        """1 for the next one to be taken, 0 once it is."""
        return self._queue.place(self)


class Queue:
    """`threads` threads that take work in the order in which it came."""

    def __init__(self, name: str, threads: int, places: int) -> None:
        self._places, self._busy, self._threads = places, 0, threads
        self._waiting: list[Ticket[Any]] = []
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def submit(self, work: Callable[[], T]) -> Ticket[T]:
        """Raises Busy where all threads work and all places are taken."""
        ticket = Ticket[T](self)
        with self._lock:
            if len(self._waiting) >= self._places + self._threads - self._busy:
                raise Busy(f"the server is busy: {len(self._waiting)} requests wait, no more are taken")
            self._waiting.append(ticket)
        ticket.future = self._executor.submit(self._run, ticket, work)
        ticket.future.add_done_callback(lambda _: self._leave(ticket))
        return ticket

    def place(self, ticket: Ticket[Any]) -> int:
        with self._lock:
            return self._waiting.index(ticket) + 1 if ticket in self._waiting else 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _leave(self, ticket: Ticket[Any]) -> None:
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)

    def _run(self, ticket: Ticket[T], work: Callable[[], T]) -> T:
        with self._lock:
            self._waiting.remove(ticket)
            self._busy += 1
        try:
            return work()
        finally:
            with self._lock:
                self._busy -= 1


async def in_turn(queue: Queue, work: Callable[[], T]) -> T:
    """Do work in a thread of a queue. Raises Busy where it is full."""
    return await asyncio.wrap_future(queue.submit(work).future)


class Deadline:
    """A progress callback that stops the work when it is cancelled or takes too long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None
        self.cancelled = False
        self.done = self.total = 0

    def __call__(self, done: int, total: int) -> bool:
        """Time counts from the first slice on, not from when the work was queued."""
        now = time.monotonic()
        self._end = now + self._seconds if self._end is None else self._end
        self.done, self.total = done, total
        return not self.cancelled and now < self._end


@dataclass
class BackgroundJob:
    """One job; `schemas.Job` is what a client sees of it."""

    client: str
    deadline: Deadline
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: str = "queued"
    segmentation: str | None = None
    problem: schemas.Problem | None = None
    ticket: Ticket[None] | None = None

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    def shown(self) -> schemas.Job:
        return schemas.Job(
            id=self.id,
            state=self.state,  # type: ignore[arg-type]
            place=self.ticket.place if self.ticket else 0,
            done=self.deadline.done,
            total=self.deadline.total,
            segmentation=self.segmentation,
            problem=self.problem,
        )


class Jobs:
    """Background jobs, one after the other."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queue = Queue("job", 1, limits.jobs)
        self._jobs: OrderedDict[str, BackgroundJob] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, client: str, work: Callable[[Deadline], str]) -> BackgroundJob:
        """Queue a job; `work` takes a progress callback and returns the id of a segmentation.

        Raises:
            TooMany, Busy: this client, or all of them, have as many as there may be.
        """
        job = BackgroundJob(client, Deadline(self._limits.job_seconds))
        with self._lock:
            own = sum(other.client == client and not other.ended for other in self._jobs.values())
            if own >= self._limits.client_jobs:
                raise TooMany(f"jobs: expected at most {self._limits.client_jobs} of one client at once, got one more")
            job.ticket = self._queue.submit(lambda: self._run(job, work))
            self._jobs[job.id] = job
            for key in [key for key, other in self._jobs.items() if other.ended][: len(self._jobs) - KEPT_JOBS]:
                del self._jobs[key]
        return job

    def get(self, key: str) -> BackgroundJob:
        """Raises Unknown where there is no such job."""
        if key not in self._jobs:
            raise Unknown("job: there is none of this id")
        return self._jobs[key]

    def cancel(self, job: BackgroundJob) -> None:
        """A waiting job ends at once, a running one after the slice at hand."""
        job.deadline.cancelled = True
        if job.ticket and job.ticket.future.cancel():
            job.state = "cancelled"

    @property
    def waiting(self) -> int:
        return self._queue.waiting

    def close(self) -> None:
        for job in self._jobs.values():
            job.deadline.cancelled = True
        self._queue.close()

    def _run(self, job: BackgroundJob, work: Callable[[Deadline], str]) -> None:
        job.state = "running"
        try:
            job.segmentation = work(job.deadline)
            job.state = "done"
        except CancelledError:
            if job.deadline.cancelled:
                job.state = "cancelled"
            else:
                seconds = self._limits.job_seconds
                job.problem = schemas.Problem(detail=f"job: took longer than {seconds:g} s", type="CancelledError")
                job.state = "failed"
        except (MedsamEdgeError, RequestError) as error:
            job.problem = schemas.Problem(detail=str(error), type=type(error).__name__)
            job.state = "failed"
        except Exception:
            job.problem = schemas.Problem(detail="the server failed; its log says why", type="ServerError")
            job.state = "failed"
            raise
