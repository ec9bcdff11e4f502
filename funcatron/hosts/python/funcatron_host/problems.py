"""From an exception that means an HTTP status to its answer, by its looks: Connexion, Flask, Starlette, ours."""

from __future__ import annotations

from http import HTTPStatus

from . import answers, jsons
from .api import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Sequence, Tuple

MEDIA_TYPE = "application/problem+json"


def problem(
    status: int,
    title: Optional[str] = None,
    detail: Any = None,
    request_id: str = "",
    headers: Any = None,
    type_: Optional[str] = None,
    instance: Optional[str] = None,
    extra: Optional[Dict[str, Any]] = None,
) -> answers.Made:
    """An error answer by RFC 9457."""
    body: Dict[str, Any] = {"type": type_ or "about:blank", "title": title or phrase(status), "status": status}
    if detail is not None:
        body["detail"] = detail
    if instance is not None:
        body["instance"] = instance
    if request_id:
        body["request-id"] = request_id
    body.update(extra or {})
    made = answers.make((None, status, headers), ())
    made.headers = [pair for pair in made.headers if pair[0].lower() != "content-type"]
    made.headers.append(("content-type", MEDIA_TYPE))
    made.body = jsons.dumps(body)
    return made


def phrase(status: int) -> str:
    """The reason phrase of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def status_of(err: BaseException) -> Optional[int]:
    """The status that an exception means, None for one that is just an error.

    Only exceptions made for that count: a failed request of the Func's own, such as urllib's HTTPError, has a code too.
    """
    if isinstance(err, Problem):
        status: Any = err.status
    elif any(_is_http(kind) for kind in type(err).__mro__):
        status = next((s for s in (getattr(err, n, None) for n in ("status_code", "status", "code")) if s), None)
    else:
        return None
    if isinstance(status, int) and 200 <= int(status) <= 599:
        return int(status)
    response = getattr(err, "response", None)
    found = getattr(response, "status_code", None)
    return found if isinstance(found, int) else None


def _is_http(kind: type) -> bool:
    return kind.__name__ in ("HTTPException", "ProblemException") and kind.__module__ != "http.client"


def from_exception(err: BaseException, request_id: str, produces: Sequence[str]) -> Optional[answers.Made]:
    """The answer that an exception means; None for one that is just an error."""
    status = status_of(err)
    if status is None:
        return None
    if isinstance(err, Problem):
        return problem(
            status, err.title, err.detail, request_id, err.headers, type_=err.type, extra=getattr(err, "extra", None)
        )
    response = getattr(err, "response", None)
    if response is not None and answers.is_response(response):  # Flask's abort(response)
        return answers.make(response, produces)
    headers, title, detail = _of_framework(err)
    return problem(
        status,
        title,
        detail,
        request_id,
        headers,
        type_=getattr(err, "type", None),
        instance=getattr(err, "instance", None),
        extra=getattr(err, "ext", None),
    )


def _of_framework(err: Any) -> Tuple[Any, Optional[str], Any]:
    """Headers, title and detail of an HTTP exception of Connexion, Starlette or werkzeug."""
    if hasattr(err, "detail"):
        return getattr(err, "headers", None), getattr(err, "title", None), err.detail
    headers = err.get_headers() if callable(getattr(err, "get_headers", None)) else getattr(err, "headers", None)
    detail = getattr(err, "description", None) or getattr(err, "reason", None)
    return headers, getattr(err, "name", None), detail
