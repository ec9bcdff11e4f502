"""The policies of the benchmark."""

from typing import Any

from benchmarks.scaling.policies.base import Policy
from benchmarks.scaling.policies.funcatron import Funcatron, FuncatronLean
from benchmarks.scaling.policies.keda import Keda, KedaDefault
from benchmarks.scaling.policies.knative import Knative
from benchmarks.scaling.policies.marathon import Marathon, MarathonQueue
from benchmarks.scaling.policies.openfaas import OpenFaas, OpenFaasCE
from benchmarks.scaling.policies.openwhisk import OpenWhisk

POLICIES: tuple[type[Policy[Any]], ...] = (
    Funcatron,
    Knative,
    Keda,
    OpenWhisk,
    OpenFaas,
    Marathon,
    FuncatronLean,
    KedaDefault,
    OpenFaasCE,
    MarathonQueue,
)

__all__ = ["POLICIES", "Funcatron", "Policy"]
