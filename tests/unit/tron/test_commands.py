"""Commands about deployments, scaling, Trons and Runners, against the real HTTP server of a Tron."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import json
import re
import threading
import time

import pytest_asyncio

from funcatron.cli import scaling
from funcatron.cli.app import run
from funcatron.stores.scaling import Decision
from funcatron.tron import server
from funcatron.tron.web.app import create_app


@pytest_asyncio.fixture
async def desk(installation, tron, bundle, tmp_path, monkeypatch, capsys):
    """Runs commands against a Tron that listens on a free port."""
    listener = server.listen("127.0.0.1", 0)
    api = server._Server(server.http_config(create_app(tron)))
    serving = asyncio.create_task(api.serve([listener]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FUNCATRON_CONFIG", raising=False)
    monkeypatch.setenv("FUNCATRON_TRON_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
    yield Desk(tron, bundle, tmp_path, capsys)
    api.should_exit = True
    await serving


class Desk:
    """`run` returns the exit code, and what was printed to stdout and stderr."""

    def __init__(self, tron, bundle, folder, capsys):
        self.tron, self.bundle, self.folder, self.capsys = tron, bundle, folder, capsys

    async def run(self, *arguments):
        code = await asyncio.to_thread(run, list(arguments))
        printed = self.capsys.readouterr()
        return code, printed.out, printed.err

    def file(self, number):
        data = self.bundle(n=number)
        path = self.folder / f"hello-{number}.pex"
        path.write_bytes(data)
        return str(path), hashlib.sha256(data).hexdigest()

    async def deploy(self, number, *more):
        path, sha = self.file(number)
        assert (await self.run("deploy", path, *more))[0] == 0
        return sha

    async def store(self, number):
        """Store a bundle without bringing it into service under this name."""
        path, sha = self.file(number)
        async with asyncio.timeout(5):
            await self.tron.intake.take(_chunks(path))
        return sha


def stages(out):
    """Return the stages that were shown."""
    return [line.strip() for line in out.splitlines() if re.fullmatch(r"  \w+", line)]


async def _chunks(path):
    with open(path, "rb") as file:  # noqa: ASYNC230 - a few bytes
        yield file.read()


async def test_deploying_shows_each_stage_once_and_what_is_drained(installation, desk):
    await installation.runner()
    code, out, _ = await desk.run("deploy", desk.file(1)[0])
    assert code == 0
    assert stages(out) == ["stored", "validated", "loading", "serving", "routed"]
    assert f"SHA {desk.file(1)[1]}" in out
    code, out, _ = await desk.run("deploy", desk.file(2)[0])
    assert (code, stages(out)) == (0, ["stored", "validated", "loading", "serving", "routed"])
    assert f"  {desk.file(1)[1][:8]} is " in out  # being drained, or drained


async def test_a_deployment_that_never_gets_ready_is_exit_code_1_and_says_why_and_what_goes_on(installation, desk):
    runner = await installation.runner()
    old = await desk.deploy(1)
    path, sha = desk.file(2)
    runner.refuse[sha] = "ImportError: no module named nope"
    code, out, err = await desk.run("deploy", path)
    assert code == 1
    assert "hello could not be deployed: ImportError: no module named nope" in err
    assert f"{old[:8]} goes on serving" in err
    runner.refuse.clear()
    runner.silent = True
    code, _, err = await desk.run("deploy", path, "--timeout", "1")
    assert (code, "no Runner served it within 1 s" in err) == (1, True)
    code, out, _ = await desk.run("deploy", path, "--timeout", "1", "--json")
    assert (code, out) == (1, "")


async def test_two_deployments_at_once_are_refused_with_the_stage_of_the_first(installation, desk):
    runner = await installation.runner()
    runner.silent = True
    _, sha = desk.file(1)
    await desk.store(1)
    await desk.tron.deployments.deploy("hello", sha, {}, {})
    code, _, err = await desk.run("deploy", desk.file(2)[0])
    assert (code, f"hello is being deployed with {sha[:8]} (stage loading)" in err) == (1, True)


async def test_the_history_says_who_did_what_and_has_pages(installation, desk, wait_until):
    await installation.runner()
    await desk.deploy(1)
    await desk.deploy(2)
    await wait_until(lambda: not desk.tron.deployments.draining)
    code, out, _ = await desk.run("history", "hello", "-n", "3")
    assert code == 0
    assert out.splitlines()[0].split() == ["AT", "NAME", "SHA", "WHAT", "OUTCOME", "WHO"]
    assert f"{getpass.getuser()}@" in out
    cursor = re.search(r"funcatron history hello -n 3 --cursor (\d+)", out)
    _, out, _ = await desk.run("history", "hello", "--cursor", cursor[1], "--json")
    page = json.loads(out)
    assert [(one["what"], one["outcome"]) for one in page["events"]] == [("deploy", "routed"), ("deploy", "begun")]
    assert page["next"] is None
    assert len(json.loads((await desk.run("history", "--json"))[1])["events"]) == 5
    code, _, err = await desk.run("history", "helo")
    assert (code, "did you mean 'hello'" in err) == (1, True)


async def test_rolling_back_waits_until_it_serves(installation, desk):
    await installation.runner()
    old = await desk.deploy(1, "--prop", "color=red")
    await desk.deploy(2)
    code, out, _ = await desk.run("rollback", "hello")
    assert code == 0
    assert out.splitlines()[-1].startswith(f"hello serves {old[:8]} at http://")
    assert "  routed" in out
    assert desk.tron.deployments.get("hello").serving.props == {"color": "red"}
    code, _, err = await desk.run("rollback", "hello", "0123abcd")
    assert (code, "begins with '0123abcd': there are" in err) == (1, True)
    code, out, _ = await desk.run("rollback", "hello", "--json")
    assert (code, json.loads(out)["stage"]) == (0, "routed")


async def test_rolling_back_goes_on_where_a_queue_was_drained_meanwhile_but_not_where_somebody_deployed(
    installation, desk, monkeypatch
):
    from funcatron.client import Client

    await installation.runner()
    await desk.deploy(1)
    await desk.deploy(2)
    deployment, seen = Client.deployment, []

    def older(client, name):
        found = deployment(client, name)
        seen.append(found["revision"])
        return found | ({"revision": found["revision"] - 1} if len(seen) == 2 else {})

    monkeypatch.setattr(Client, "deployment", older)  # the second look is the one before the change
    assert (await desk.run("rollback", "hello"))[0] == 0
    seen.clear()

    def other(client, name):
        return older(client, name) | ({"serving": "f" * 64} if len(seen) == 2 else {})

    monkeypatch.setattr(Client, "deployment", other)
    code, _, err = await desk.run("rollback", "hello")
    assert (code, "read it again" in err) == (1, True)


async def test_splitting_then_promoting(installation, desk):
    await installation.runner()
    old, new = await desk.deploy(1), await desk.store(2)
    code, out, _ = await desk.run(
        "split", "hello", f"{old[:8]}=90", f"{new[:8]}=10%", "--sticky", "header:X-User", "--rollback-above", "5%"
    )
    assert code == 0
    assert out.splitlines()[-1] == (
        f"hello is split: 90 % {old[:8]}, 10 % {new[:8]}, by the header x-user, until more than 0.05 of the answers in "
        "60 s are errors"
    )
    assert "  serving" in out
    assert f"{old[:8]}=90 {new[:8]}=10" in (await desk.run("list"))[1]
    assert re.search(rf"split: +90 % {old[:8]}", (await desk.run("describe", "hello"))[1])
    rows = [line.split() for line in (await desk.run("routes"))[1].splitlines()[1:]]
    assert [row[3:6] for row in rows] == [[old[:8], "90", "%"], [new[:8], "10", "%"]]
    code, out, _ = await desk.run("promote", "hello", new[:8])
    assert (code, out) == (0, f"hello: {new[:8]} gets all requests\n")
    code, _, err = await desk.run("promote", "hello", old[:8])
    assert (code, "hello is not split" in err) == (1, True)


async def test_a_split_that_cannot_be_is_told_with_every_reason(installation, desk):
    runner = await installation.runner()
    old, new = await desk.deploy(1), await desk.store(2)
    code, _, err = await desk.run("split", "hello", f"{old}=90", f"{new}=20")
    assert (code, "- the shares must be 100 in all, not 90 + 20 = 110" in err) == (1, True)
    runner.refuse[new] = "ImportError: nope"
    code, _, err = await desk.run("split", "hello", f"{old}=90", f"{new}=10")
    assert (code, "hello could not be split: ImportError: nope" in err) == (1, True)
    assert f"{old[:8]} goes on serving" in err


async def test_scaling_settings_are_changed_one_by_one_and_can_be_forgotten(installation, desk):
    await installation.runner()
    await desk.deploy(1)
    assert "nothing is set" in (await desk.run("scale", "hello"))[1]
    assert (await desk.run("scale", "hello", "--min", "0", "--max", "20"))[1] == "hello: min 0, max 20\n"
    code, out, _ = await desk.run("scale", "hello", "--target-wait", "0.1", "--warm", "2", "--idle", "60")
    assert (code, out) == (0, "hello: min 0, max 20, target-wait 0.1, warm 2, idle 60\n")
    code, _, err = await desk.run("scale", "hello", "--min", "21")
    assert (code, "- min 21 is over max 20" in err) == (1, True)
    assert (await desk.run("scale", "hello", "--reset", "--max", "3"))[1] == "hello: max 3\n"
    assert json.loads((await desk.run("scale", "hello", "--json"))[1])["revision"] == 3


async def test_a_scaling_setting_that_somebody_else_sets_at_the_same_moment_is_kept(installation, desk, monkeypatch):
    from funcatron.client import Client

    await installation.runner()
    await desk.deploy(1)
    read, raced = Client.scaling, []

    def slow(client, name):
        found = read(client, name)
        if not raced:
            raced.append(1)
            client.set_scaling(name, {"min": 1}, found["revision"])
        return found

    monkeypatch.setattr(Client, "scaling", slow)
    assert (await desk.run("scale", "hello", "--max", "5"))[1] == "hello: min 1, max 5\n"


async def decide(desk, number):
    func = {"queue": "q", "arrival_rate": 12.5, "ready": number, "rss": None, "service_time": {"seconds": 0.01}}
    inputs = {"func": func, "memory": {"at": 1.0}}
    one = Decision(time.time(), "hello", "a" * 64, inputs, {"instances": number}, f"{number} will do")
    await desk.tron.registry.add_decisions([one])


async def test_decisions_are_shown_with_figures_outcome_and_reason(installation, desk):
    await installation.runner()
    await desk.deploy(1)
    assert "nothing was decided yet" in (await desk.run("scaling", "hello"))[1]
    for number in range(3):
        await decide(desk, number)
    code, out, _ = await desk.run("scaling", "hello", "-n", "2")
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 6)
    assert lines[0].endswith("hello aaaaaaaa  instances 1")
    assert lines[1:3] == ["    1 will do", "    from: arrival_rate 12.5, ready 1, service_time.seconds 0.01"]
    assert [one["why"] for one in json.loads((await desk.run("scaling", "--json"))[1])] == [
        "0 will do",
        "1 will do",
        "2 will do",
    ]


async def test_watching_goes_on_with_the_decisions_that_come(installation, desk, monkeypatch):
    await installation.runner()
    await desk.deploy(1)
    await decide(desk, 1)
    shown, told = [], threading.Event()

    def line(one):
        shown.append(one["outputs"]["instances"])
        told.set()
        if len(shown) == 3:
            raise KeyboardInterrupt  # as Ctrl-C does

    monkeypatch.setattr(scaling, "LOOK", 0.01)
    monkeypatch.setattr(scaling, "line", line)
    watching = asyncio.ensure_future(desk.run("scaling", "hello", "--watch", "--json"))
    await asyncio.to_thread(told.wait, 5)
    for number in (2, 3):
        await decide(desk, number)
    async with asyncio.timeout(5):
        assert (await watching)[0] == 0
    assert shown == [1, 2, 3]


async def test_trons_and_runners_are_listed(installation, desk):
    await installation.runner("r1")
    await desk.deploy(1)
    _, out, _ = await desk.run("trons")
    assert re.search(rf"{desk.tron.id} +leads, epoch \d+ +http://127.0.0.1:3000", out)
    assert json.loads((await desk.run("trons", "--json"))[1])[0]["leads"] is True
    _, out, _ = await desk.run("runners")
    assert out.splitlines()[1].split()[:6] == ["r1", "test", "1", "?", "of", "?"]
    assert json.loads((await desk.run("runners", "--json"))[1])[0]["id"] == "r1"


async def test_without_a_runner_that_is_said(desk):
    assert "no Runner is connected" in (await desk.run("runners"))[1]


async def test_draining_a_runner_waits_until_it_has_ended(installation, desk, monkeypatch):
    runner = await installation.runner("r1")
    await desk.deploy(1)

    async def drain(name):
        runner.say("died")

    monkeypatch.setattr(desk.tron, "drain_runner", drain)
    code, out, _ = await desk.run("drain", "r1")
    assert (code, out.splitlines()[-1]) == (0, "r1 has ended")
    code, _, err = await desk.run("drain", "r2")
    assert (code, "there is no runner 'r2'" in err) == (1, True)


async def test_a_runner_that_does_not_end_in_time_is_exit_code_1(installation, desk, monkeypatch):
    await installation.runner("r1")
    await desk.deploy(1)

    async def drain(name):
        """It goes on for long."""

    monkeypatch.setattr(desk.tron, "drain_runner", drain)
    code, _, err = await desk.run("drain", "r1", "--timeout", "1")
    assert (code, "r1 has not ended after 1 s; it goes on" in err) == (1, True)
