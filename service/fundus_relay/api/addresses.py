"""What a request's URL says: the base that its caller knows us by, a type, an id, a version."""

from __future__ import annotations

import re

from starlette.requests import Request

from fundus_relay.fhir.capability import INTERACTIONS

from .errors import MalformedRequest, MethodNotAllowed, NotFound

_METHODS = {
    "type": (("POST", "create"), ("GET", "search-type")),
    "instance": (("GET", "read"), ("PUT", "update")),
    "version": (("GET", "vread"),),
    "search": (("POST", "search-type"),),
}
"""Level of a URL → methods and the interactions that they are."""


def base_url(request: Request, public_url: str | None) -> str:
    """Base of the FHIR endpoint, without a slash at its end; by default as the caller addressed us."""
    if public_url:
        return public_url.rstrip("/")
    root = request.base_url  # not `url`: that fails on a query that is not UTF-8
    return f"{root.scheme}://{root.netloc}/fhir"


def kind_of(request: Request, level: str) -> str:
    """The resource type in the path.

    Raises:
        NotFound: we have no such type.
        MethodNotAllowed: the method means an interaction that the type has not.
    """
    kind = str(request.path_params["kind"])
    can = INTERACTIONS.get(kind)
    if can is None:
        raise NotFound("no such resource type here; GET metadata lists what there is")
    allowed = [method for method, interaction in _METHODS[level] if interaction in can]
    if ("GET" if request.method == "HEAD" else request.method) not in allowed:
        raise not_allowed(allowed)
    return kind


def query_of(request: Request) -> str:
    """The query as sent. Raises MalformedRequest when it is not UTF-8."""
    query: bytes = request.scope["query_string"]
    try:
        return query.decode()
    except UnicodeDecodeError as exc:
        raise MalformedRequest("the query is not UTF-8") from exc


def not_allowed(allowed: list[str]) -> MethodNotAllowed:
    """A refusal that says what is allowed."""
    return MethodNotAllowed("this method is not supported here", headers={"Allow": ", ".join(sorted(allowed))})


def id_of(request: Request) -> str:
    """The id in the path. Raises NotFound when it cannot be one."""
    id = str(request.path_params["id"])
    if not re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", id):
        raise NotFound("no resource can have this id")
    return id
