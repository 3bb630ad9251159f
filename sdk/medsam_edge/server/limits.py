"""What one server may take, whoever asks."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Budgets of a server.

    Attributes:
        upload_bytes: of one upload, and of all that are under way at once.
        json_bytes: of any other body.
        memory_bytes: images and results of all clients; the least recently used images go first.
        client_bytes: the same of one client.
        files: files of one upload.
        workers: threads that segment while somebody waits.
        queue: requests that wait for one of them; the next one is refused.
        jobs: background jobs that wait.
        client_jobs: background jobs of one client, running and waiting.
        job_seconds: for one job, and for a request of a volume that is waited for.
        silence_seconds: without a byte of a request or of a reader of a response.
        request_seconds: for a whole request to arrive.
        connections: open at once.
    """

    upload_bytes: int = 1024 * MIB
    json_bytes: int = 8 * MIB
    memory_bytes: int = 4096 * MIB
    client_bytes: int = 2048 * MIB
    files: int = 2048
    workers: int = 2
    queue: int = 64
    jobs: int = 16
    client_jobs: int = 4
    job_seconds: float = 600.0
    silence_seconds: float = 15.0
    request_seconds: float = 300.0
    connections: int = 256
