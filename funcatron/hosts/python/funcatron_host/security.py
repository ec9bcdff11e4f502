"""Runs the security plan of a request with the bundle's own checking functions, as Connexion calls them."""

from __future__ import annotations

import inspect
from contextlib import suppress

from . import problems
from .api import Problem
from .loading import is_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

    from .calls import Call


class Checker:
    """A checking function, and which of the optional arguments it takes."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.is_async = is_async(function)
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            parameters = ()  # type: ignore[assignment]
        names = {p.name for p in parameters}
        rest = any(p.kind == p.VAR_KEYWORD for p in parameters)
        self.takes_scopes = rest or "required_scopes" in names
        self.takes_request = rest or "request" in names


class Refused(Problem):
    """401 or 403 by the plan itself."""


class Plan:
    """Decides about one request. `run` is how a function's result is waited for, should it be a coroutine."""

    def __init__(self, checkers: Mapping[str, Checker], run: Callable[[Any], Any]) -> None:
        self._checkers = checkers
        self._run = run

    def check(self, alternatives: Sequence[Sequence[Mapping[str, Any]]], call: Call) -> Dict[str, Any]:
        """Return `user` and `token_info` by the first alternative that holds, or raise the most telling refusal."""
        errors: List[BaseException] = []
        for alternative in alternatives:
            try:
                info = self._all(alternative, call)
            except Exception as err:  # noqa: BLE001 - another alternative may hold; else the most specific is raised
                errors.append(err)
                continue
            if info is not None:
                return {"user": _user(info, len(alternative)), "token_info": info}
        if errors:
            raise _most_specific(errors, alternatives)
        raise Refused(401, detail="No authorization token provided", headers=_challenges(alternatives))

    def _all(self, alternative: Sequence[Mapping[str, Any]], call: Call) -> Any:
        """All requirements of one alternative: what they found, None when a credential is absent."""
        if not alternative:
            return {}
        for requirement in alternative:
            if requirement.get("invalid"):
                raise Refused(401, detail=requirement["invalid"], headers=_challenges([[requirement]]))
        if any(requirement["args"] is None for requirement in alternative):
            return None
        infos = {requirement["scheme"]: self._one(requirement, call) for requirement in alternative}
        return next(iter(infos.values())) if len(alternative) == 1 else infos

    def _one(self, requirement: Mapping[str, Any], call: Call) -> Any:
        checker = self._checkers[requirement["check"]]
        scopes = list(requirement.get("scopes") or ())
        keywords: Dict[str, Any] = {}
        if checker.takes_scopes:
            keywords["required_scopes"] = scopes
        if checker.takes_request:
            keywords["request"] = call.context
        info = self._run(checker.function(*requirement["args"], **keywords))
        if info is None or info is False:
            what = {"basic": "authorization", "apiKey": "apikey"}.get(requirement["kind"], "token")
            raise Refused(401, detail=f"Provided {what} is not valid", headers=_challenges([[requirement]]))
        if requirement["kind"] == "oauth2" or (scopes and not checker.takes_scopes):
            self._scopes(requirement, scopes, info)
        return info

    def _scopes(self, requirement: Mapping[str, Any], scopes: List[str], info: Any) -> None:
        found = info.get("scope", info.get("scopes", "")) if hasattr(info, "get") else ""
        name = requirement.get("scope-check")
        if name:
            fits = self._run(self._checkers[name].function(scopes, found))
        else:
            granted = set(found.split()) if isinstance(found, str) else set(found or ())
            fits = set(scopes) <= granted
        if not fits:
            detail = f"Provided token does not have the required scopes. Provided: {found}; Required: {scopes}"
            raise Refused(403, detail=detail)


def _user(info: Any, requirements: int) -> Any:
    """`sub`, or `uid` as older checkers say it; with several schemes, of the first that names one."""
    candidates = [info] if requirements <= 1 else list(info.values())
    for one in candidates:
        if hasattr(one, "get"):
            user = one.get("sub", one.get("uid"))
            if user is not None:
                return user
    return None


def _challenges(alternatives: Sequence[Sequence[Mapping[str, Any]]]) -> Dict[str, List[str]]:
    found = [r["challenge"] for alternative in alternatives for r in alternative if r.get("challenge")]
    return {"WWW-Authenticate": list(dict.fromkeys(found))} if found else {}


def _most_specific(errors: List[BaseException], alternatives: Sequence[Sequence[Mapping[str, Any]]]) -> BaseException:
    """403 says most, then 401, then the lowest status; an error without one counts as 600. As Connexion does."""
    by_status: Dict[int, BaseException] = {}
    for err in errors:
        by_status[problems.status_of(err) or 600] = err
    chosen = by_status.get(403) or by_status.get(401) or by_status[min(by_status)]
    if problems.status_of(chosen) == 401 and not _has_challenge(chosen):
        chosen_any: Any = chosen
        with suppress(AttributeError, TypeError):
            chosen_any.headers = {**(getattr(chosen, "headers", None) or {}), **_challenges(alternatives)}
    return chosen


def _has_challenge(err: BaseException) -> bool:
    headers: Optional[Any] = getattr(err, "headers", None)
    return any(str(name).lower() == "www-authenticate" for name in (headers or ()))
