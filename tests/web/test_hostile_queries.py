"""Every read of the API with values that fit no question: a 4xx or an answer, never a 500."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from tests.web.routes_of import filled
from tests.web.test_runs_api import write_run

VALUES = [
    "\x00",
    "a\x00b",
    str(10**20),
    str(-(10**20)),
    "1e400",
    "é" * 5000,
    "../../etc",
    "[",
    "~x/y",
]
SLOW = {"/api/v1/events"}  # a stream; /poll asks the same


def reads(app):
    """Path and names of query parameters of every GET, but for streams."""
    for context in iter_route_contexts(app.routes):
        if "GET" in (context.methods or ()) and context.path not in SLOW:
            route = context.original_route
            if isinstance(route, APIRoute):
                yield str(context.path), [p.alias for p in route.dependant.query_params]


def test_no_value_of_a_query_or_a_path_breaks_a_read(app, quiet):
    write_run("x")
    asked, broken = 0, []
    for path, names in reads(app):
        for value in VALUES:
            questions = [(filled(path), {name: value}) for name in names]
            if "{" in path and "/" not in value:
                questions.append((filled(path, quote(value)), {}))
            for where, query in questions:
                answer = quiet.get(where, params=query)
                asked += 1
                if answer.status_code >= 500:
                    broken.append((path, list(query), value[:12], answer.status_code))
    assert asked > 300
    assert broken == []


@pytest.mark.parametrize("what", ["events", "log", "metrics"])
def test_what_comes_after_the_end_is_nothing_or_refused(quiet, what):
    write_run("x")
    for after, status in ((10**20, 422), (2**40, 200), (-1, 422)):
        answer = quiet.get(f"/api/v1/runs/x/{what}", params={"after": after})
        assert answer.status_code == status
    assert quiet.get("/api/v1/jobs/none/events", params={"after": 10**20}).status_code == 422


def test_a_path_with_a_nul_is_no_path(quiet):
    answer = quiet.get("/api/v1/models/browse?path=%00")
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_path")


WRONG = {
    "runs": ["limit=-1", "page=0", "page=x", "page_size=201", "page_size=1e3", "sort=sise",
             "status=running,done", "dir=up", "page=1&page=2", "modle=x", "page=" + "9" * 5000],
    "runs/x/metrics": ["after=garbage", "after=-1", "max_points=3", "keys=los", "max_points=abc"],
    "runs/x/events": ["after=1.5", "limit_bytes=-1", "limit=10"],
    "runs/x/log": ["tail=-1", "tail=99999", "events_after=x"],
    "jobs": ["kind=trian", "limit=5"], "config/schema": ["lang=fr"], "chats": ["limit=-1"],
    "datasets/identity/rows": ["limit=0", "limit=-1", "offset=-5", "limit=10000000", "after=3"],
    "datasets/identity/tokens": ["row=0", "part=0", "too_long=cut", "max_length=7"],
    "events/poll": ["topics=runs&after=garbage", "topics=", "topics=runs&after=" + "[" * 5000,
                    "topics=runs&after=[1]", "topics=runs&limit=1"],
}  # fmt: skip


@pytest.mark.parametrize(("path", "query"), [(p, q) for p, some in WRONG.items() for q in some])
def test_a_query_that_is_not_understood_is_refused_and_named(quiet, path, query):
    write_run("x")
    answer = quiet.get(f"/api/v1/{path}?{query}")
    assert answer.status_code == 422, answer.text
    told = answer.json()
    name = query.rpartition("&")[2].partition("=")[0]
    assert name in told["detail"]
    assert len(told["detail"]) < 300


def test_the_nearest_parameter_is_offered_and_what_clients_add_is_taken(quiet):
    answer = quiet.get("/api/v1/runs?modle=x").json()["detail"]
    assert answer == "modle: no such field. Did you mean model?"
    assert quiet.get("/v1/models?limit=-1").status_code == 422
    assert "limit" in quiet.get("/v1/models?limit=-1").json()["error"]["message"]
    for known in ("beta=true", "api-version=2024-10-21"):
        assert quiet.get(f"/v1/models?{known}").status_code == 200
