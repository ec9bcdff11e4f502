"""How a version is to be run: defaults, spec, deployment, operator."""

from __future__ import annotations

from typing import Any

import pytest

from funcatron.settings import Settings
from funcatron.stores.records import BundleRecord, Version
from funcatron.stores.scaling import Scaling
from funcatron.tron.scaling import FuncPolicy
from funcatron.tron.traits import Traits, traits

SHA = "ab" * 32


def of(
    *operations: dict[str, Any], own: dict[str, Any] | None = None, scaling: Scaling | None = None, **more: Any
) -> Traits:
    """The traits of a bundle with these operations."""
    record = BundleRecord(SHA, more.pop("kind", "python"), "n", None, "/n", 1, operations=operations)
    return traits("n", Version(SHA, None, "/n", settings=own or {}), record, scaling, Settings(**more))


def test_without_a_word_the_policy_decides() -> None:
    found = of({"id": "a"}, func_concurrency=7)
    assert found.policy == FuncPolicy()
    assert (found.queue, found.slots, found.cores, found.queue_limit) == ("func.n.abababab", 7, 1.0, None)


def test_a_bundle_whose_record_cannot_be_read_has_the_defaults() -> None:
    found = traits("n", Version(SHA, None, "/n"), None, None, Settings())
    assert (found.slots, found.cores, found.policy) == (32, None, FuncPolicy())


def test_the_widest_of_all_operations_counts() -> None:
    found = of(
        {"id": "a", "concurrency": 4, "instances": {"min": 1, "max": 3}, "queue-limit": 10},
        {"id": "b", "concurrency": 16, "instances": {"min": 0, "max": 9}},
        {"id": "c", "queue-limit": 50},
        func_concurrency=8,
    )
    assert (found.policy.min, found.policy.max, found.slots, found.queue_limit) == (1, 9, 16, 50)


def test_the_deployment_wins_over_the_spec() -> None:
    found = of(
        {"id": "a", "concurrency": 4, "instances": {"min": 1, "max": 3}, "queue-limit": 10},
        own={"concurrency": 2, "instances": {"max": 5}, "queue-limit": 7},
    )
    assert (found.policy.min, found.policy.max, found.slots, found.queue_limit) == (0, 5, 2, 7)


@pytest.mark.parametrize(
    ("scaling", "bounds"),
    [
        (Scaling(min=3), (3, 5)),
        (Scaling(min=8), (8, 8)),
        (Scaling(max=1), (1, 1)),
        (Scaling(min=0, max=9), (0, 9)),
    ],
)
def test_the_operator_wins_over_both(scaling: Scaling, bounds: tuple[int, int]) -> None:
    found = of({"id": "a", "instances": {"min": 2, "max": 5}}, scaling=scaling)
    assert (found.policy.min, found.policy.max) == bounds


def test_times_are_the_operators() -> None:
    policy = of({"id": "a"}, scaling=Scaling(target_wait=0.1, warm=2, idle=300.0)).policy
    assert (policy.target_wait, policy.warm, policy.idle) == (0.1, 2, 300.0)


def test_how_long_an_idle_host_stays_follows_the_setting_if_that_was_set() -> None:
    assert of({"id": "a"}, host_idle=20.0).policy.idle == 20.0
    assert of({"id": "a"}, host_idle=20.0, scaling=Scaling(idle=5.0)).policy.idle == 5.0
    assert of({"id": "a"}).policy.idle == FuncPolicy().idle


def test_a_jvm_uses_as_many_cores_as_there_are() -> None:
    assert of({"id": "a"}, kind="jvm").cores is None
