"""OpenFaaS: the Pro autoscaler in capacity mode (docs/architecture/autoscaling.md, faas-netes prometheus-pro-cfg.yaml),
and the Community Edition's alert (gateway/handlers/alerthandler.go, prometheus-cfg.yaml, alertmanager-cfg.yaml).

Pro: each 15 s, replicas = ceil(load / (target × 0.9)), load = the most calls in the gateway within 45 s, looked at each
5 s; the target is the slots. Never below 1; its default largest number, 20, is raised to what fits, as for all.
CE: one more of at most 5 while more than 5 calls/s were answered in the last 10 s, back to 1 when not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.scaling.cluster import Pool
from benchmarks.scaling.policies.base import Maximum, Policy

PROPORTION = 0.9  # com.openfaas.scale.target-proportion
LOOK, EVALUATION, LOOKBACK = 5.0, 15.0, 45.0  # scrape_interval, evaluation_interval, max_over_time, s


class OpenFaas(Policy[Maximum]):
    """Pro, capacity mode."""

    name, title = "openfaas", "OpenFaaS Pro, capacity"
    interval = LOOK
    least = 1

    def state(self, pool: Pool) -> Maximum:
        return Maximum(LOOKBACK)

    def look(self, pool: Pool, load: Maximum, now: float) -> None:
        load.add(now, pool.present())
        if self.ticks % round(EVALUATION / LOOK) == 0:
            desired = math.ceil(load.largest(now) / (pool.slots * PROPORTION))
            pool.scale_to(max(self.least, desired))


@dataclass
class _Alert:
    notified_at: float | None = None  # None: it does not fire


class OpenFaasCE(Policy[_Alert]):
    """The Community Edition, which its pages call meant for development."""

    name, title = "openfaas-ce", "OpenFaaS CE, at most 5"
    variant = True
    interval = 5.0
    least, largest = 1, 5
    threshold = 5.0  # answers/s
    step = 1  # 20 % of 5
    repeat = 30.0  # repeat_interval of the alert manager, s

    def state(self, pool: Pool) -> _Alert:
        return _Alert()

    def look(self, pool: Pool, alert: _Alert, now: float) -> None:
        if sum(1 for ended, _ in pool.durations if ended > now - 10) / 10 <= self.threshold:
            alert.notified_at = None
            pool.scale_to(self.least)
        elif alert.notified_at is None or now - alert.notified_at >= self.repeat:
            alert.notified_at = now
            pool.scale_to(min(self.largest, pool.target + self.step))
