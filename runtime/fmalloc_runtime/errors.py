"""Errors of requests, and the table of their HTTP statuses."""

from fmalloc_shared.errors import FmallocError


class RequestError(FmallocError):
    """The request cannot be served as it is."""


class BadRequestError(RequestError):
    """A field is missing or malformed, or its value is not supported."""


class UnknownDomainError(RequestError):
    """The requested domain has no live bundle."""


class UnsupportedLanguagesError(RequestError):
    """No live bundle translates between these languages."""


class InputTooLongError(RequestError):
    """A line has more tokens than the model has positions."""


class BodyTooLargeError(RequestError):
    """The request's body, or the text in it, exceeds the limit."""


class UnsupportedMediaTypeError(RequestError):
    """The body is neither JSON nor a form."""


class UnauthorizedError(RequestError):
    """The API key is missing or unknown."""


class BusyError(RequestError):
    """The server is overloaded, or the client has reached its rate limit; `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimitedError(BusyError):
    """The client has reached its limit of requests or characters per minute."""


class OverloadedError(BusyError):
    """The queue is full."""


class QuotaExceededError(RequestError):
    """The key has used its monthly quota of characters."""


class CorrectionsOffError(RequestError):
    """The server keeps no corrections."""


class GlossariesOffError(RequestError):
    """The server keeps no glossaries."""


class MissingGlossaryError(RequestError):
    """The client has no glossary of this id."""


class SlowClientError(RequestError):
    """The body did not arrive in time."""


class EngineError(FmallocError):
    """The engine failed on valid tokens: the fault is the bundle's or the machine's, not the request's."""


class CorrectionsFullError(FmallocError):
    """There is no room for more corrections of a domain."""


class GlossariesFullError(FmallocError):
    """There is no room on the disk for a glossary."""


class NotReadyError(FmallocError):
    """No bundles are served, or the model that is needed cannot be loaded."""


class NothingServedError(NotReadyError):
    """No bundles are served; the message says why and may name files."""


_STATUS: dict[type[FmallocError], int] = {
    BadRequestError: 400,
    UnknownDomainError: 400,
    UnsupportedLanguagesError: 400,
    InputTooLongError: 400,
    BodyTooLargeError: 413,
    UnsupportedMediaTypeError: 415,
    UnauthorizedError: 403,
    RateLimitedError: 429,
    OverloadedError: 429,
    QuotaExceededError: 456,
    CorrectionsOffError: 403,
    CorrectionsFullError: 507,
    GlossariesOffError: 403,
    MissingGlossaryError: 404,
    GlossariesFullError: 507,
    SlowClientError: 408,
    EngineError: 500,
    NotReadyError: 503,
    FmallocError: 500,
}


def status_of(error: FmallocError) -> int:
    """The HTTP status of an error: that of its closest class in the table."""
    return next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
