"""What a subject of the bench is."""

from __future__ import annotations

import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence


class Subject(ABC):
    """Something that answers HTTP on loopback. Between `start` and `stop` its URLs answer 200."""

    name: str

    @abstractmethod
    def start(self) -> None:
        """Start whatever it needs and return when it answers; raises BenchError, leaving nothing behind after stop."""

    @abstractmethod
    def stop(self) -> None:
        """End everything that `start` began, also after a failed start. Idempotent."""

    @abstractmethod
    def url(self, operation: str) -> str:
        """Where one of the spec's operations (`greet`, `order`, `blob`) answers."""

    @abstractmethod
    def components(self) -> Mapping[str, Sequence[int]]:
        """Process ids by component (`broker`, `nginx`, `tron` …), for the CPU and memory of each."""


def answers(url: str, times: int = 1) -> Callable[[], bool]:
    """A check: so many requests one after the other, each on a new connection, are answered with 200."""

    def check() -> bool:
        for _ in range(times):
            try:
                with urllib.request.urlopen(url, timeout=5) as response:
                    if response.status != 200:
                        return False
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                return False
        return True

    return check
