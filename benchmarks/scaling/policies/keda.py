"""KEDA's RabbitMQ scaler with the HPA of Kubernetes (keda, pkg/scalers/rabbitmq_scaler.go; ScaledObject, HPA).

Mode QueueLength over the HTTP API, which counts unacked messages as well. KEDA wakes from zero and puts to sleep, the
HPA does the rest: replicas = ceil(messages / value), tolerance 10 %, at most twice as many or 4 more in 15 s, shrinking
only to the largest recommendation of 300 s.
"""

from __future__ import annotations

import math

from benchmarks.scaling.cluster import Pool
from benchmarks.scaling.policies.base import Maximum, Policy

POLL = 30.0  # pollingInterval, s
SYNC = 15.0  # horizontal-pod-autoscaler-sync-period, s
COOLDOWN = 300.0  # cooldownPeriod to zero, s
WINDOW = 300.0  # downscale stabilisation, s
TOLERANCE = 0.1
MOST_PODS, MOST_SHARE = 4, 1.0  # growth in 15 s: the larger of both


class _Scaled:
    def __init__(self) -> None:
        self.window = Maximum(WINDOW)
        self.active_at = -math.inf


class Keda(Policy[_Scaled]):
    """The value is what one instance can take, as KEDA's page advises: its slots."""

    name, title = "keda", "KEDA RabbitMQ + HPA, value = slots"
    interval = SYNC

    def state(self, pool: Pool) -> _Scaled:
        return _Scaled()

    def value(self, pool: Pool) -> float:
        """Return the messages that one instance is meant for."""
        return float(pool.slots)

    def look(self, pool: Pool, scaled: _Scaled, now: float) -> None:
        polls = self.ticks % round(POLL / SYNC) == 0
        active = pool.present() > 0
        if polls and active:
            scaled.active_at = now
        if pool.target == 0:
            if polls and active:
                pool.scale_to(1)
        elif polls and now - scaled.active_at >= COOLDOWN:
            pool.scale_to(0)
        else:
            self._sync(pool, scaled, now)

    def _sync(self, pool: Pool, scaled: _Scaled, now: float) -> None:
        current, value = pool.target, self.value(pool)
        desired = current
        if abs(pool.present() / (value * current) - 1) > TOLERANCE:
            desired = max(1, math.ceil(pool.present() / value))
        scaled.window.add(now, desired)
        if desired < current:
            desired = min(current, int(scaled.window.largest(now)))
        pool.scale_to(min(desired, current + max(MOST_PODS, math.floor(current * MOST_SHARE))))


class KedaDefault(Keda):
    """The value is KEDA's default: 20 messages an instance."""

    name, title = "keda-20", "KEDA RabbitMQ + HPA, default value 20"
    variant = True

    def value(self, pool: Pool) -> float:
        return 20.0
