"""What can go wrong with a request, and the one table that says which HTTP status it is."""

from fmalloc_shared.errors import FmallocError


class RequestError(FmallocError):
    """The request cannot be served as it is."""


class BadRequestError(RequestError):
    """A field is missing, malformed or of an unsupported value."""


class UnknownDomainError(RequestError):
    """No live bundle has the domain that was asked for."""


class UnsupportedLanguagesError(RequestError):
    """No live bundle translates between these languages."""


class InputTooLongError(RequestError):
    """A line, the one at `index` of those to translate, has more tokens than the model has positions."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class BodyTooLargeError(RequestError):
    """The request's body, or the text in it, is over the limit."""


class UnsupportedMediaTypeError(RequestError):
    """The body is neither JSON nor a form."""


class UnauthorizedError(RequestError):
    """No key, or none that the server knows."""


class BusyError(RequestError):
    """The server has all the work that it takes at once, or the client has had its share; `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimitedError(BusyError):
    """This key's share of requests or characters is used up for now."""


class OverloadedError(BusyError):
    """The queue is full."""


class QuotaExceededError(RequestError):
    """This key has used all the characters of the month."""


class SlowClientError(RequestError):
    """The body did not arrive in time."""


class EngineError(FmallocError):
    """The engine failed on tokens that it should take: the bundle or the machine is to blame, not the request."""


class NotReadyError(FmallocError):
    """No snapshot of bundles is loaded."""


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
    SlowClientError: 408,
    EngineError: 500,
    NotReadyError: 503,
    FmallocError: 500,
}


def status_of(error: FmallocError) -> int:
    """The HTTP status of an error: that of its nearest class in the table."""
    return next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
