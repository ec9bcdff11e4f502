"""The one place where figures are merged: of all Runners, with the depths of queues, into one picture.

Runners tell totals, and this Tron takes differences. Times are of this Tron's own steady clock: when a message came is
when what it tells was so. Clocks of other machines are only looked at to say how wrong they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from funcatron.brokers.base import Depth
from funcatron.message.topology import FIREHOSE
from funcatron.tron.statistics.book import DEPTH_AGE, Book, Share
from funcatron.tron.statistics.figures import Flow, Picture, RunnerFigures, Totals
from funcatron.tron.statistics.flows import Ledger, Sources, Stand
from funcatron.tron.statistics.runner import Clock, Reporter
from funcatron.tron.statistics.sums import Sums

SPAN = 10.0
"""Rates and spreads are of so many seconds."""

KEPT = 3600.0
"""Totals of a Func that nobody speaks of any more are kept for so long, s."""

LAG = 10.0
"""So much older than a Runner's figures those of a Frontend may be, s: a heartbeat."""

SLACK = 1.0
"""Counters that are so little older than this Tron's knowledge began within it, s."""


class Statistics:
    """Takes what Runners, Frontends and queues tell; returns the picture of now. `clock` is steady, `wall` not (s)."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        span: float = SPAN,
    ) -> None:
        self._clock, self._wall, self._span = clock, wall, span
        self._began = clock()
        self._runners: dict[str, Reporter] = {}
        self._books: dict[str, Book] = {}
        self._clocks: dict[str, Clock] = {}
        self._trons, self._frontends, self._direct = (Sources(self._began) for _ in range(3))
        self._ended: dict[str, int] = {}  # by Tron
        self._ledgers: dict[str, Ledger] = {}  # by queue; "" is of all
        self._firehose: tuple[float, Depth | None] = (self._began, None)
        self._wanted: set[str] = set()
        self._looked = float("-inf")

    # ------------------------------------------------------------------ what comes in

    def heard(self, sender: str, at_ms: int) -> None:
        """Note a control message of whomever: when it says that it was made."""
        if at_ms:
            self._clocks.setdefault(sender, Clock()).heard(at_ms / 1000, self._wall())

    def take(self, message: Mapping[str, Any]) -> bool:
        """Take a `stats` message that follows its schema. False: the Runner should be asked for everything, since
        something of it was lost, or it was not known. Raises BadMessage for what no schema finds."""
        now, name = self._clock(), message["instance-id"]
        entries = [(entry, Sums.of(entry)) for entry in message["funcs"]]
        runner = self._runners.get(name)
        if runner is None:
            runner = self._runners[name] = Reporter(name, now, self._span)
        known_for = now - self._began + SLACK
        anew, gap, since = runner.take(message, now, known_for)
        if anew:
            self._leave(name, for_good=True)
        used = 0.0
        full = message["full"]
        for entry, totals in entries:
            book = self._book(entry["queue"])
            grown = book.take(name, entry, totals, now, full=full, known_for=known_for, gap=gap, since=since)
            used += grown["cpu-seconds"]
        runner.use(used, now)
        return not runner.ask(now)

    def gone(self, name: str) -> None:
        """Forget a Runner or a Frontend that is no more, as far as is known."""
        self._clocks.pop(name, None)
        for sources in (self._trons, self._frontends, self._direct):
            sources.gone(name)
        if name in self._runners:
            self._runners[name].left = True
            self._leave(name, for_good=False)

    def frontend_published(self, name: str, totals: Mapping[str, int] | None, *, direct: bool) -> None:
        """Take how many messages a Frontend has put into each queue since it started; None: it does not tell. `direct`:
        whether it puts messages into func queues."""
        now = self._clock()
        self._frontends.tell(name, totals, now)
        self._direct.tell(name, totals if totals is not None or direct else {}, now)

    def tron_dispatched(self, name: str, totals: Mapping[str, int] | None, *, ended: int) -> None:
        """Take how many messages a Tron has put into each func queue since it started (None: it does not tell), and how
        many it answered, dropped or buried itself."""
        self._trons.tell(name, totals, self._clock())
        self._ended[name] = ended

    def want(self, funcs: Iterable[tuple[str, str, str]]) -> None:
        """Take which Funcs shall be served: queue, name of the deployment and SHA of each."""
        self._wanted = set()
        for queue, name, sha in funcs:
            self._wanted.add(queue)
            book = self._book(queue)
            book.name, book.sha = name, sha

    def measured(self, depths: Mapping[str, Depth | None]) -> None:
        """Take the depths of queues as they are now; None: it is not known."""
        now = self._clock()
        for queue, depth in depths.items():
            if queue == FIREHOSE:
                self._firehose = (now, depth)
            else:
                self._book(queue).measure(now, depth)

    def tick(self) -> None:
        """Once a second: open the books that can be opened; forget Runners and Funcs that are long gone."""
        now = self._clock()
        if now - self._looked < LAG:
            return
        self._looked = now
        self.flows()
        for name, runner in list(self._runners.items()):
            if runner.left and now - runner.heard > KEPT:
                del self._runners[name]
                self._leave(name, for_good=True)
        for queue, book in list(self._books.items()):
            if not book.shares and queue not in self._wanted and now - max(book.touched, book.depth[0]) > KEPT:
                del self._books[queue]
                self._ledgers.pop(queue, None)

    # ------------------------------------------------------------------ what comes out

    @property
    def queues(self) -> list[str]:
        """The func queues that shall be served, and those that Runners speak of: some still drain."""
        return [queue for queue, book in self._books.items() if book.served or queue in self._wanted]

    def picture(self, *, exact: bool = True) -> Picture:
        """Return everything that is known now; without quantiles unless `exact`, which halves what it costs (50 µs a
        busy Func)."""
        now = self._clock()
        ages = {name: runner.age(now) for name, runner in self._runners.items()}
        any_fresh = any(age is not None for age in ages.values())
        at, depth = self._firehose
        return Picture(
            at=now,
            funcs={
                queue: book.figures(now, ages.get, known=any_fresh, exact=exact) for queue, book in self._books.items()
            },
            runners=self._runner_figures(now),
            firehose_ready=depth.ready if depth is not None and now - at <= DEPTH_AGE else None,
            clocks={name: clock.ahead for name, clock in self._clocks.items() if clock.ahead is not None},
        )

    def totals(self) -> dict[str, Totals]:
        """Return the counters of each func queue, over all Runners, since this Tron knows it."""
        return {
            queue: Totals(dict(book.totals.counters), dict(book.totals.wait), dict(book.totals.service))
            for queue, book in self._books.items()
        }

    def flows(self) -> tuple[Flow, dict[str, Flow]]:
        """Return where messages went: over all, and by func queue."""
        now = self._clock()
        missing = self._trons.missing(needed=True) or self._direct.missing(needed=False)
        flows, all_sums, all_waiting, doubts = {}, Sums(), self._at_firehose(now), 0
        for queue, book in self._books.items():
            waiting, doubt = self._waiting(book, now)
            all_sums.add_counters(book.totals)
            all_waiting = None if waiting is None or all_waiting is None else all_waiting + waiting
            doubts += doubt
            published = None if missing else sum(s.published.get(queue, 0) for s in (self._trons, self._direct))
            stand = Stand(published, waiting, doubt=doubt, why=missing)
            flows[queue] = self._ledgers.setdefault(queue, Ledger()).flow(book.totals, stand)
        missing = self._frontends.missing(needed=True)
        published = None if missing else sum(self._frontends.published.values())
        stand = Stand(published, all_waiting, ended=sum(self._ended.values()), doubt=doubts, why=missing)
        return self._ledgers.setdefault("", Ledger()).flow(all_sums, stand), flows

    # ------------------------------------------------------------------ inside

    def _book(self, queue: str) -> Book:
        book = self._books.get(queue)
        if book is None:
            book = self._books[queue] = Book(queue, self._clock(), self._span)
        return book

    def _leave(self, runner: str, *, for_good: bool) -> None:
        for book in self._books.values():
            book.leave(runner, for_good=for_good)

    def _runner_figures(self, now: float) -> dict[str, RunnerFigures]:
        shares: dict[str, list[tuple[str, Share]]] = {name: [] for name in self._runners}
        for queue, book in self._books.items():
            for share in book.shares.values():
                shares[share.runner].append((queue, share))
        here = {name: runner for name, runner in self._runners.items() if not runner.left}
        return {name: runner.figures(now, shares[name], self._ahead(name)) for name, runner in here.items()}

    def _ahead(self, name: str) -> float | None:
        clock = self._clocks.get(name)
        return clock.ahead if clock is not None else None

    def _at_firehose(self, now: float) -> int | None:
        at, depth = self._firehose
        return None if depth is None or now - at > DEPTH_AGE else depth.ready + depth.unacked

    def _waiting(self, book: Book, now: float) -> tuple[int | None, int]:
        """Return how many messages of a queue wait or are in flight, and how far off that may be."""
        ages = [self._runners[share.runner].age(now) for share in book.shares.values() if share.alive]
        ready = book.ready(now)
        if ready is None or None in ages:
            return None, 0
        lag = LAG + max((age for age in ages if age is not None), default=0.0)
        return ready + sum(share.in_flight for share in book.shares.values()), book.moved(now, lag)
