"""Who stands at the entrance of every application here: the guard, who knows sessions, keys and proofs of people."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from core.people import api_keys, rights, sessions, step_up
from core.web.feature import BadRoute
from core.web.guard import Guard, Policy


def guard(base_url: str) -> partial[Guard]:
    """The middleware that lets in whom a route names, for a shop at this address."""
    return partial(
        Guard,
        load_session=sessions.load,
        is_promised=sessions.is_promised,
        load_key=api_keys.load,
        prove=partial(step_up.prove, base_url),
        base_origin=_origin(base_url),
    )


def check_routes(handlers: Iterable[tuple[str, Any]], more_acts: Collection[str] = ()) -> None:
    """``more_acts`` are known for these routes beside those of the table in ``rights.py``.

    :raises BadRoute: naming the first route that does not say rightly who may use it.
    """
    for path, handler in handlers:
        policy = Policy.of(handler.opt, f"{sorted(handler.http_methods)} {path}")
        act = policy.right
        if act is not None and act != rights.ANY and act not in rights.RIGHTS and act not in more_acts:
            raise BadRoute(f"{path}: core/people/rights.py does not know the act {act}")
        if policy.scope is not None and policy.scope not in api_keys.SCOPES:
            raise BadRoute(f"{path}: core/people/api_keys.py does not know the scope {policy.scope}")
        if path.startswith("/admin") and policy.who == "buyer":
            raise BadRoute(f"{path}: a console page is for staff, or for anyone before the sign-in")
        if policy.fresh and "GET" in handler.http_methods:
            raise BadRoute(f"{path}: only a POST can ask for a fresh proof")


def _origin(base_url: str) -> str:
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}".lower()
