"""Requests that the server refuses for a reason of its own. What the sdk refuses stays an error of the sdk."""

from __future__ import annotations


class RequestError(Exception):
    """Becomes a `Problem` with the class's status.

    Attributes:
        status: of the response.
        retry_after: seconds after which the same request may succeed; None where it never will.
    """

    status = 400
    retry_after: int | None = None


class Unauthorized(RequestError):  # noqa: N818
    """The token is missing or wrong."""

    status = 401


class Foreign(RequestError):  # noqa: N818
    """The request names another host, or a page of another origin sent it."""

    status = 403


class Unknown(RequestError):  # noqa: N818
    """There is no such image, segmentation, job or file, or it was dropped to stay within the memory budget."""

    status = 404


class NotSaved(RequestError):  # noqa: N818
    """Nothing was saved of this image."""

    status = 409


class LeaseLost(RequestError):  # noqa: N818
    """A viewer's session has ended."""

    status = 410


class LengthRequired(RequestError):  # noqa: N818
    """A body without a Content-Length."""

    status = 411


class TooLarge(RequestError):  # noqa: N818
    """More bytes than a request, an image or a client may take."""

    status = 413


class TooSlow(RequestError):  # noqa: N818
    """The client takes too long to send its request."""

    status = 408


class TooLong(RequestError):  # noqa: N818
    """Work that was waited for took longer than its client waits; a background job may take longer."""

    status = 422


class TooMany(RequestError):  # noqa: N818
    """One client has as many jobs as it may have."""

    status = 429
    retry_after = 5


class Busy(RequestError):  # noqa: N818
    """The queue is full, or all sessions are taken."""

    status = 503
    retry_after = 1
