"""MiniWoB++ in Chromium: what is shown, what is done, demonstrations, copies, a hostile suite, no network, and browsers that hang or die."""

import functools
import os
import signal
import socket
import threading

import numpy as np
import pytest

from paradigm import Sampler
from paradigm.environments import Environment, MiniWoB, Observation, Workers, miniwob
from paradigm.environments.chromium import BrowserUnavailable, Chromium, Page, find_chromium
from paradigm.environments.miniwob import MINIWOB_TASKS, MiniWoBDemonstrator
from paradigm.environments.protocol import EnvironmentFault

pytest.importorskip("miniwob", reason="MiniWoB++'s pages are not installed: pip install 'paradigm-trainer[computer]'")
try:
    find_chromium()
except BrowserUnavailable as error:
    pytest.skip(str(error), allow_module_level=True)

SECONDS = 60.0  # on a machine that has other things to do


@pytest.fixture(scope="module")
def world():
    world = MiniWoB((*MINIWOB_TASKS, "email-inbox-reply", "social-media", "terminal"), max_actions=500, max_action_tokens=4096, timeout=SECONDS)
    yield world
    world.close()


def _text(step):
    (observation,) = step.observations
    return bytes(np.asarray(observation.tokens).tolist()).decode()


def _write(world, line):
    return world.step(list(f"{line}\n".encode()))


def _over(world):
    """Whether the page itself says that it is over."""
    return world._page.evaluate("WOB_DONE_GLOBAL")


def test_an_episode(world) -> None:
    assert isinstance(world, Environment)
    step = world.reset(("enter-text", 1081530687))
    assert _text(step) == 'Enter "Juan" into the text field and press Submit.\n1 input\n2 button "Submit"\n'
    assert step.observations[0].stop == (10,) and step.observations[0].legal is None
    assert _text(_write(world, 'type 1 "Ju\\"a"')).split("\n")[1] == '1 input = "Ju\\"a"'
    copied = world.clone()
    assert _text(_write(world, 'type 1 ""')).split("\n")[1] == "1 input"
    assert _text(_write(world, 'type 1 "Juan"')).split("\n")[1] == '1 input = "Juan"', "what was there is replaced"
    assert _text(_write(world, "press Backspace")).split("\n")[1] == '1 input = "Jua"'
    _write(world, 'type 1 "Juan"')
    step = _write(world, "click 2")
    assert step.terminated and step.rewards == (1.0,) and step.observations == [] and world.verdict.score == 1.0
    with pytest.raises(RuntimeError, match="reset"):
        _write(world, "click 2")
    step = _write(copied, "click 2")
    assert step.terminated and step.rewards == (0.0,), "the copy is where the episode was when it was made"
    assert _text(world.reset(("enter-text", 1081530687))) == _text(world.reset(("enter-text", 1081530687), seed=9))
    assert len({_text(world.reset(("enter-text", number))).split("\n")[0] for number in range(5)}) > 2


def test_demonstrations_of_every_page_through_workers() -> None:
    factory = functools.partial(MiniWoB, MINIWOB_TASKS, timeout=SECONDS)
    with Workers(factory, 1, timeout=2 * SECONDS) as workers:
        tasks = factory().tasks(0, 2 * len(MINIWOB_TASKS))
        rollouts = Sampler(None, vocab_size=256).collect(
            workers, tasks, group_size=1, opponents={0: MiniWoBDemonstrator()}, record_players=True
        )  # fmt: skip
    assert not rollouts.failed.any() and rollouts.terminated.all() and (rollouts.reward == 1).all(), rollouts.reward
    assert {page for page, _ in tasks} == set(MINIWOB_TASKS)


def test_demonstrators_err_as_they_are_told(world) -> None:
    step = world.reset(("enter-text", 5))
    observation = step.observations[0]
    said = [bytes(MiniWoBDemonstrator(0.5)(observation, seed)).decode() for seed in range(200)]
    assert 60 < sum(line.startswith("click") for line in said) < 140 and {"click 1\n", "click 2\n"} < set(said)
    with pytest.raises(ValueError, match="error_rate"):
        MiniWoBDemonstrator(2.0)
    with pytest.raises(ValueError, match="a task to demonstrate"):
        MiniWoBDemonstrator()(Observation([*b"Solve chess.\n"]), 0)


def test_tasks_are_of_one_split_each(world) -> None:
    parts = {split: set(world.tasks(0, 120, split)) for split in ("train", "validation", "test")}
    assert not parts["train"] & parts["test"] and len(parts["train"]) == 120 and {page for page, _ in parts["test"]} == set(world.pages)
    assert world.tasks(0, 40) == world.tasks(0, 120)[:40]


SCRIPTS = (
    "core.endEpisode(1)", "WOB_DONE_GLOBAL=true;WOB_RAW_REWARD_GLOBAL=1", "parent.core.endEpisode(1,true)", "location='file:///etc/passwd'",
    "document.title='x';window.top.WOB_RAW_REWARD_GLOBAL=1", "fetch('http://127.0.0.1')", "while(1);",
)  # fmt: skip
WRAPPED = (
    "{}", "<script>{}</script>", "<img src=x onerror={}>", "<svg onload={}>", "javascript:{}", '"><script>{}</script>', "';{};//", "${{{}}}",
    "<iframe srcdoc='<script>{}</script>'>", "<a href=javascript:{}>x</a>", "<input autofocus onfocus={}>", "`);{};(`",
)  # fmt: skip
TYPED = [wrapped.format(script) for wrapped in WRAPPED for script in SCRIPTS] + [
    "reward: 1.0 (raw: 1.0)", "WOB_DONE_GLOBAL", '{"score": 1.0, "over": true}', "Verdict(1.0)", "x" * 3000, "\u202e\u200b", "💥" * 300, "%00", "\\",
]  # fmt: skip
MALFORMED = [
    "", " ", "click", "click ", "click 0", "click -1", "click 99", "click 9999", "click 99999999999", "click 1.5", "click 1e0", "click ١",
    "click 1 2", "click one", "Click 1", " click 1", "click 1 ", "click\t1", "click 1; click 2", "click #area", "click [1]", "click list(1)",
    "click 1)||core.endEpisode(1", "type", "type 1", "type 1 x", 'type "x"', 'type 1 "x', "type 1 'x'", 'type 1 "\\q"', 'type 1 "\\ud800"',
    'type 1 "\\u0000"', 'type 1 "\\n"', 'type 1 "a" "b"', 'type 99 "x"', 'type 5 "x"', 'type 1 "\\u202e"', 'type 1 "' + "\\" * 999 + '"',
    'type 1 ["x"]', 'type 1 {"x": 1}', "press", "press F12", "press enter", "press Control+w", "press Alt+F4", "press Enter Enter",
    "press constructor", "press __proto__", "goto file:///etc/passwd", "javascript:core.endEpisode(1)", "navigate http://example.com",
    "open about:blank", "reload", "back", "eval core.endEpisode(1)", "scroll 9", "drag 1 2", "? ", "reward 1", "done", "\0", "\x1b[2J", "🖱 1",
    "click 1\x00", '{"method": "Runtime.evaluate", "params": {"expression": "core.endEpisode(1)"}}', "click " + "1" * 3000, "x" * 4000,
]  # fmt: skip


@pytest.mark.parametrize("page", ["enter-text", "login-user", "choose-list"])
def test_hostile_lines_neither_raise_nor_score(world, page) -> None:
    shown = _text(world.reset((page, 7)))
    for line in MALFORMED:
        step = _write(world, line)
        assert not step.terminated and step.rewards == (0.0,), line
        assert _text(step).startswith("? ") and _text(step).split("\n", 1)[1] == shown, line
    world.step([1, 2, 3, 300, 70000, 10])
    world.step([])
    if page == "choose-list":
        return
    for text in TYPED:
        step = _write(world, f"type {1 if page == 'enter-text' else 2} {miniwob.json.dumps(text, ensure_ascii=False)}")
        assert not step.terminated and step.rewards == (0.0,) and not _over(world), text
    assert world._page.evaluate("location.pathname").endswith(f"/{page}.html") and len(TYPED) + len(MALFORMED) > 100
    step = _write(world, f"click {2 if page == 'enter-text' else 5}")
    assert step.terminated and step.rewards == (0.0,)


def test_no_script_runs_that_gets_into_the_page(world) -> None:
    """As if a page put what was typed into itself, which some of MiniWoB++'s do."""
    for script in ("core.endEpisode(1)", "WOB_DONE_GLOBAL=true;WOB_RAW_REWARD_GLOBAL=1"):
        world.reset(("enter-text", 3))
        hostile = (
            f"<img src=x onerror='{script}'><svg onload='{script}'></svg><iframe srcdoc=\"<script>parent.{script}</script>\"></iframe>"
            f"<a id=bad href=\"javascript:{script}\">x</a><input id=focused onfocus='{script}'>"
        )
        put = f"document.getElementById('area').insertAdjacentHTML('beforeend', {miniwob.json.dumps(hostile)})"
        world._page.evaluate(put)
        made = f"const made = document.createElement('script'); made.text = {miniwob.json.dumps(script)}; document.body.append(made);"
        world._page.evaluate(f"(() => {{ {made} }})()")
        for act in ("'bad').click()", "'focused').focus()"):
            world._page.evaluate(f"document.getElementById({act}")
        world._page.evaluate(f"window.jQuery && jQuery('#area').append({miniwob.json.dumps(f'<script>{script}</script>')})")
        world._page.evaluate("new Promise(done => setTimeout(done, 200))")
        assert not _over(world)
        step = _write(world, "click 2")
        assert step.terminated and step.rewards == (0.0,), "the page itself goes on"


def test_an_episode_that_has_left_its_page_is_lost(world) -> None:
    for leave in ("location = 'click-test.html'", "location = 'about:blank'", "location.reload()"):
        world.reset(("enter-text", 3))
        world._page.evaluate(f"setTimeout(() => {{ {leave} }}, 0)")
        step = _write(world, "click 1")
        step = step if step.terminated else _write(world, "click 1")
        assert step.terminated and step.rewards == (0.0,) and world.verdict.evidence == "the page was left", leave
    for reward in ("NaN", "Infinity", "'1'", "null", "true", "({})"):
        world.reset(("enter-text", 3))
        world._page.evaluate(f"WOB_RAW_REWARD_GLOBAL = {reward}; WOB_DONE_GLOBAL = true")
        assert _write(world, "press Tab").rewards == (0.0,), reward


def test_nothing_is_fetched_but_files() -> None:
    heard = []
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.1)

    def listen() -> None:
        while not done.is_set():
            try:
                heard.append(server.accept())
            except TimeoutError:
                continue

    done = threading.Event()
    listener = threading.Thread(target=listen)
    listener.start()
    browser = Chromium(timeout=SECONDS)
    page = Page(browser)
    address = f"http://127.0.0.1:{server.getsockname()[1]}/"
    try:
        assert page.evaluate(f"fetch('{address}').then(() => 'fetched', () => 'refused')") == "refused"
        for url in (address, f"http://localhost:{server.getsockname()[1]}/", "http://example.com/", "https://[::1]/"):
            assert "errorText" in page.call("Page.navigate", url=url)
    finally:
        done.set()
        listener.join()
        server.close()
        browser.close()
    assert heard == []
    with pytest.raises(EnvironmentFault):
        page.evaluate("1")


def test_a_browser_that_hangs_or_dies_costs_its_own_episode() -> None:
    world = MiniWoB(("enter-text",), timeout=SECONDS)
    task = ("enter-text", 1081530687)
    world.reset(task)
    _write(world, 'type 1 "Juan"')
    hanging, going_on = world.clone(), world
    hanging.reset(task)
    browser = world._browsers.running()
    browser._timeout = 2.0
    hanging._page.evaluate("setTimeout(() => { while (true); }, 0)")
    with pytest.raises(EnvironmentFault) as fault:
        _write(hanging, "click 2")
    assert fault.value.failure_reason == "timeout" and not browser.is_open
    assert _write(going_on, "click 2").rewards == (1.0,), "played again in a new browser"
    world.reset(task)
    os.kill(world._browsers.running().pid, signal.SIGKILL)
    with pytest.raises(EnvironmentFault) as fault:
        _write(world, "click 2")
    assert fault.value.failure_reason == "exit"
    assert _text(world.reset(task)).startswith("Enter")
    world.close()


def test_bad_arguments_are_named(world, tmp_path) -> None:
    for options, named in (({"pages": ()}, "pages"), ({"pages": ("../core/core",)}, "pages"), ({"max_actions": 0}, "max_actions"),
                           ({"timeout": 0}, "timeout")):  # fmt: skip
        with pytest.raises(ValueError, match=named):
            MiniWoB(**options)
    for task in ("click-test", ("click-dialog", 1), ("click-test", "1"), ("click-test",), None):
        with pytest.raises(ValueError, match="task"):
            world.reset(task)
    with pytest.raises(BrowserUnavailable, match="must be Chromium's executable"):
        Chromium(str(tmp_path / "nothing"))
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexit 3\n")
    silent.chmod(0o755)
    with pytest.raises(BrowserUnavailable, match="did not start"):
        Chromium(str(silent))
