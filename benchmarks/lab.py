"""The lab: starts subjects when they are first asked for, runs rounds over them, ends everything at its end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.broker import Broker
from benchmarks.figures import median
from benchmarks.load import wrk
from benchmarks.plan import CONNECTIONS, Plan
from benchmarks.processes import BenchError
from benchmarks.subjects.base import Subject
from benchmarks.subjects.echo import Echo, EchoServers
from benchmarks.subjects.funcatron import Funcatron, FuncatronServers
from benchmarks.subjects.peers import Connexion, FunctionsFramework, Peer
from funcatron.stack.frontend import workers

Result = TypeVar("Result")
ROUTINGS = ("direct", "firehose")


class Lab:
    """All subjects of one run in one temporary folder. Use it as a context manager."""

    def __init__(self, plan: Plan, folder: Path, venvs: Path) -> None:
        """`folder` takes what this run writes, `venvs` what is kept between runs."""
        folder.chmod(0o755)  # Func hosts run as users of their own and must get to their bundle
        self.plan, self.folder = plan, folder
        self._exit = contextlib.ExitStack()
        self._started: set[str] = set()
        self._rates: dict[str, float] = {}
        self._subjects: dict[str, Subject] = {}
        broker = Broker(folder / "echo-broker")
        servers = EchoServers(broker, folder / "echo", workers=workers("auto", len(os.sched_getaffinity(0))))
        self.funcatron = FuncatronServers(folder / "funcatron")
        for routing in ROUTINGS:
            self.add(Echo(servers, broker, routing))
            self.add(Funcatron(self.funcatron, routing))
        self.add(Connexion(venvs, folder))
        self.add(FunctionsFramework(venvs, folder))

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            self._exit.close()

    def say(self, text: str) -> None:
        """Tell on stderr what goes on."""
        print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)

    def add(self, subject: Subject) -> None:
        """Make a subject known by its name; it is started when it is first asked for."""
        self._subjects[subject.name] = subject

    def subject(self, name: str) -> Subject:
        """A subject that runs and is warm."""
        subject = self._subjects[name]
        if name not in self._started:
            self.say(f"starting {name}")
            self._exit.callback(subject.stop)
            subject.start()
            wrk(subject.url("greet"), CONNECTIONS, 1)
            self._started.add(name)
        return subject

    def subjects(self, *names: str) -> list[Subject]:
        """Several of them."""
        return [self.subject(name) for name in names]

    @contextlib.contextmanager
    def until_done(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop` at the end of the block, come what may, and let nothing interrupt it."""
        try:
            yield
        finally:
            with uninterrupted():
                stop()

    def alternate(
        self, subjects: Sequence[Subject], rounds: int, measure: Callable[[Subject], Result]
    ) -> dict[str, list[Result]]:
        """Measure each subject once per round, each round beginning with the next one, so that drift hits all alike."""
        results: dict[str, list[Result]] = {subject.name: [] for subject in subjects}
        for number in range(rounds):
            first = number % len(subjects)
            for subject in (*subjects[first:], *subjects[:first]):
                results[subject.name].append(measure(subject))
        return results

    def record_rate(self, name: str, rate: float) -> None:
        """Keep the maximum rate that was found, for the measures at half of it."""
        self._rates[name] = rate

    def max_rate(self, subject: Subject) -> float:
        """Requests a second at c=64: what the run has found, or, if it did not measure it, a short load's."""
        if subject.name not in self._rates:
            loads = [wrk(subject.url("greet"), CONNECTIONS, 1) for _ in range(3)]
            self._rates[subject.name] = median(load.rate for load in loads)
        return self._rates[subject.name]

    def versions(self) -> dict[str, str]:
        """Versions of the peers that ran."""
        found: dict[str, str] = {}
        for name in sorted(self._started):
            subject = self._subjects[name]
            if isinstance(subject, Peer):
                found |= subject.versions()
        return found


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold off Ctrl-C and SIGTERM: a clean-up must come to its end, which is bounded itself."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def paired(tops: Sequence[float], bottoms: Sequence[float]) -> float:
    """The median of the rounds' ratios: both sides of each were measured within seconds of each other."""
    if len(tops) != len(bottoms) or not tops:
        raise BenchError("rounds do not pair")
    return median(top / bottom for top, bottom in zip(tops, bottoms, strict=True))
