from __future__ import annotations

import threading

import pytest

from medsam_edge.errors import CancelledError, InputError
from medsam_edge.server.errors import Busy
from medsam_edge.server.limits import Limits
from medsam_edge.server.work import BackgroundJob, Deadline, Jobs, Queue


def test_a_queue_has_an_end_and_tells_each_place() -> None:
    queue, may_go = Queue("test", 1, 2), threading.Event()
    running = queue.submit(may_go.wait)
    while running.place:
        threading.Event().wait(0.001)
    waiting = [queue.submit(lambda: 7) for _ in range(2)]
    assert [ticket.place for ticket in waiting] == [1, 2]
    with pytest.raises(Busy, match="2 requests wait"):
        queue.submit(lambda: 7)
    assert waiting[0].future.cancel()
    assert waiting[1].place == 1
    may_go.set()
    assert waiting[1].future.result(10) == 7
    assert waiting[1].place == 0
    queue.close()


def ended(jobs: Jobs, job: BackgroundJob) -> BackgroundJob:
    """Wait for a job, and close."""
    assert job.ticket
    job.ticket.future.exception(10)
    jobs.close()
    return job


def test_a_job_that_takes_too_long_is_stopped() -> None:
    def work(progress: Deadline) -> str:
        if not progress(1, 9) or not progress(2, 9):
            raise CancelledError("progress")
        return "id"

    slow = Jobs(Limits(job_seconds=0.0))
    job = ended(slow, slow.start("me", work))
    assert job.state == "failed" and job.problem and "longer than 0 s" in job.problem.detail
    fast = Jobs(Limits())
    job = ended(fast, fast.start("me", work))
    assert (job.state, job.segmentation, job.shown().done, job.shown().total) == ("done", "id", 2, 9)


def test_a_job_that_fails_says_why_and_no_more() -> None:
    def refuse(_: Deadline) -> str:
        raise InputError("boxes: expected better ones")

    def break_down(_: Deadline) -> str:
        raise ZeroDivisionError("of a secret")

    jobs = Jobs(Limits())
    first, second = jobs.start("me", refuse), jobs.start("me", break_down)
    ended(jobs, second)
    assert first.problem and first.problem.detail == "boxes: expected better ones"
    assert second.problem and "secret" not in second.problem.detail
