"""When a version that is being loaded serves, has failed, or is waited for."""

from __future__ import annotations

from funcatron.tron.loading import Loading
from funcatron.tron.peers import Loaded

SERVING, LOADING = Loaded("s", "serving"), Loaded("s", "loading")


def failed(text):
    return Loaded("s", "failed", text)


def verdict(said, runners, now=1.0):
    return Loading("q", 0.0, 10.0, said=dict(said)).verdict(runners, now)


def test_one_runner_that_serves_is_enough():
    assert verdict({"a": SERVING, "b": LOADING}, ["a", "b"]).what == "serve"


def test_a_runner_that_failed_beside_one_that_serves_is_told():
    found = verdict({"a": SERVING, "b": failed("no such module")}, ["a", "b"])
    assert (found.what, found.detail) == ("serve", "no such module")


def test_it_has_failed_when_every_runner_failed():
    found = verdict({"a": failed("x"), "b": failed("x")}, ["a", "b"])
    assert (found.what, found.detail) == ("fail", "a, b: x")


def test_a_failure_waits_for_the_runners_that_are_still_at_it():
    found = verdict({"a": failed("x")}, ["a", "b"])
    assert (found.what, found.detail) == ("wait", "1 Runner loading it; failed: x")


def test_without_a_runner_it_waits_and_says_so():
    assert verdict({}, []).detail == "waiting for a Runner: none is connected"


def test_it_fails_in_the_end_without_a_runner():
    found = verdict({}, [], now=10.0)
    assert found.what == "fail"
    assert "no Runner was connected within 10 s" in found.detail


def test_it_fails_in_the_end_naming_the_runners_that_did_not_get_ready():
    found = verdict({"b": failed("x")}, ["a", "b"], now=10.0)
    assert found.detail == "no Runner served it within 10 s; still loading: a; failed: x"


def test_only_what_is_about_it_counts():
    loading = Loading("q", 0.0, 10.0)
    assert not loading.hear("a", "other", SERVING, "")
    assert loading.hear("a", "q", SERVING, "")


def test_when_the_same_queue_is_served_already_only_an_answer_to_what_was_asked_counts():
    loading = Loading("q", 0.0, 10.0, strict=True, asked={"m1"})
    assert not loading.hear("a", "q", SERVING, "m0")
    assert loading.hear("a", "q", SERVING, "m1")
