"""A small spec loaded and served, from the outside."""

from __future__ import annotations

import pytest

from funcatron.spec import BadRequest, Request, load

HELLO = b"""
swagger: "2.0"
info: {title: Hello, version: "1.0"}
basePath: /hello
paths:
  /greet:
    get:
      operationId: hello.greet
      parameters:
        - {name: name, in: query, type: string, required: true}
        - {name: times, in: query, type: integer, minimum: 1, maximum: 10, default: 1}
      responses: {"200": {description: ok}}
"""


def test_a_request_is_matched_and_its_parameters_are_typed() -> None:
    api = load({"funcatron.yaml": HELLO})
    match = api.match("GET", "/hello/greet")
    assert match.operation is not None
    arguments = match.operation.bind(Request("GET", "/hello/greet", "name=Ada&times=2"), match.path_params)
    assert arguments.params == {"name": "Ada", "times": 2}
    assert arguments.body_kind == "none"


def test_all_faults_of_a_request_are_reported_at_once() -> None:
    operation = load({"funcatron.yaml": HELLO}).operations[0]
    with pytest.raises(BadRequest) as caught:
        operation.bind(Request(query="times=11"), {})
    assert caught.value.status == 400
    assert caught.value.errors == [
        {"where": "query.name", "what": "Missing query parameter 'name'"},
        {"where": "query.times", "what": "11 is greater than the maximum of 10"},
    ]
