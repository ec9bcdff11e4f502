"""Whether a version that Runners were told to load is served by now, has failed, or is to be waited for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from funcatron.tron.peers import Loaded


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do now: `wait` (detail says for what), `serve` (detail names the Runners that failed) or `fail`."""

    what: Literal["wait", "serve", "fail"]
    detail: str = ""


@dataclass(slots=True)
class Loading:
    """One attempt to bring a version into service. `said` has what each Runner answered; `asked` the messages' ids.

    strict: the same queue is served already, with other settings; only an answer to what was asked counts then.
    """

    queue: str
    began: float
    limit: float
    strict: bool = False
    said: dict[str, Loaded] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def hear(self, runner: str, queue: str, loaded: Loaded, ack_id: str) -> bool:
        """Take what a Runner said, if it is about this attempt; returns whether it was."""
        if queue != self.queue or (self.strict and ack_id not in self.asked):
            return False
        self.said[runner] = loaded
        return True

    def verdict(self, runners: Iterable[str], now: float) -> Verdict:
        """Decide by what was said so far, and by which Runners there are.

        One Runner that serves is enough. The attempt has failed once every Runner failed, or when its time is over.
        """
        said = self.said
        failed = {runner: one.error or "" for runner, one in said.items() if one.stage == "failed"}
        if any(one.stage == "serving" for one in said.values()):
            return Verdict("serve", _failures(failed))
        open_ = [runner for runner in runners if runner not in failed]
        if failed and not open_:
            return Verdict("fail", _failures(failed))
        if now - self.began >= self.limit:
            return Verdict("fail", self._late(open_, failed))
        if not open_:
            return Verdict("wait", "waiting for a Runner: none is connected")
        return Verdict("wait", f"{len(open_)} Runner{'s' if len(open_) > 1 else ''} loading it" + _also(failed))

    def _late(self, open_: list[str], failed: Mapping[str, str]) -> str:
        if not open_:
            return f"no Runner was connected within {self.limit:g} s: start one (`funcatron runner`) and deploy again"
        return f"no Runner served it within {self.limit:g} s; still loading: {', '.join(sorted(open_))}" + _also(failed)


def _failures(failed: Mapping[str, str]) -> str:
    """Return what went wrong, each text once: Runners mostly fail for the same reason."""
    by_text: dict[str, list[str]] = {}
    for runner, text in sorted(failed.items()):
        by_text.setdefault(text, []).append(runner)
    if len(by_text) == 1 and len(failed) == 1:
        return next(iter(by_text))
    return "\n".join(f"{', '.join(runners)}: {text}" for text, runners in by_text.items())


def _also(failed: Mapping[str, str]) -> str:
    return f"; failed: {_failures(failed)}" if failed else ""
