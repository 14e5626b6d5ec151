"""Operating a computer: MiniWoB++ (E. Z. Liu et al., arXiv:1802.08802) in headless Chromium, its pages as text and actions a line.

    Enter "Alda" into the text field and press Submit.     the task's own words
    1 input                                                what can be seen, by number: the element, its text, its state
    2 button "Submit"
    type 1 "Alda"                                          the policy's line, and the page as it is then
    Enter "Alda" into the text field and press Submit.
    1 input = "Alda"
    2 button "Submit"
    click 2

`click N`, `type N "text"` (a JSON string, which replaces what stands there) and `press KEY` are all there is. A line that is none of these, or cannot
be done, is answered `? ` and the reason, and the page again.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paradigm.environments.chromium import Chromium, Page
from paradigm.environments.protocol import EnvironmentFault, Observation, Step, without_stop
from paradigm.environments.splits import Split, split_of
from paradigm.environments.text_codec import ByteCodec, TextCodec
from paradigm.verifiers import Verdict

__all__ = ["MINIWOB_TASKS", "MiniWoB", "MiniWoBDemonstrator"]

# that `MiniWoBDemonstrator` can do
MINIWOB_TASKS = (
    "click-button", "click-link", "click-option", "click-checkboxes", "click-test", "choose-list", "enter-text", "focus-text", "login-user",
)  # fmt: skip

_ACTION = re.compile(r'(click) ([0-9]{1,4})|(type) ([0-9]{1,4}) ("(?:[^"\\]|\\.)*")|(press) ([A-Za-z]+)')
_KEYS = {"Enter": 13, "Tab": 9, "Escape": 27, "Backspace": 8, "Delete": 46, "ArrowUp": 38, "ArrowDown": 40, "ArrowLeft": 37, "ArrowRight": 39}
_USAGE = 'write click NUMBER, type NUMBER "text" or press KEY'
_SETTLE_MS = 10
# Once the page has set itself up, no text that gets into it can become a script or a request. It may lead to another page, which is noticed.
_POLICY = "script-src 'none'; connect-src 'none'; frame-src 'none'; object-src 'none'; base-uri 'none'"
_START = """(() => {{
  core.EPISODE_MAX_TIME = 1e9;
  if (window.jQuery) jQuery.fx.off = true;
  Math.seedrandom({seed});
  core.startEpisodeReal();
  const policy = document.createElement("meta");
  policy.httpEquiv = "Content-Security-Policy";
  policy.content = {policy};
  document.head.append(policy);
  globalThis.__episode = {episode};
}})()"""
_STATE = """new Promise(done => setTimeout(() => done(globalThis.__episode !== {episode} ? {{here: false}} : {{
  here: true, over: WOB_DONE_GLOBAL === true, reward: WOB_RAW_REWARD_GLOBAL, task: core.getUtterance()
}}), {settle}))"""


class MiniWoB:
    """Tasks on web pages, one seat. A task is a pair (page, number), the number seeding the page.

    The reward is the page's own, without its part for speed, between 0 and 1, once the page says that it is over; an episode that is not over in
    `max_actions` lines ends with 0, as does one that has left its page. The page has no network, and no script that came with a policy's text runs.

    Its copies share one browser process, each with a window: step it in `Workers`, so that a browser that hangs or crashes fails the episodes of
    one worker only. Without it, the browser starts with the first episode.

    Args:
        pages: names of MiniWoB++'s pages, such as `click-button`.
        executable: Chromium's; None: what is on the path.
        tokenizer: encodes pages, decodes actions; None: UTF-8 bytes.
        stop: ids that end an action; by default the newline byte.
        max_action_tokens: the longest line.
        max_actions: lines in an episode, those that cannot be done too.
        max_elements: of a page that are shown.
        timeout: seconds that the browser may take for one call.

    Attributes:
        verdict: on the last episode; None before its end.
    Raises: ImportError, and BrowserUnavailable on the first reset, saying what to install; ValueError for values out of range and unknown pages.
    """

    name = "miniwob"
    num_seats = 1

    def __init__(
        self, pages: Sequence[str] = MINIWOB_TASKS, *, executable: str | None = None, tokenizer: TextCodec | None = None, stop: Sequence[int] = (10,),
        max_action_tokens: int = 64, max_actions: int = 10, max_elements: int = 40, timeout: float = 5.0,
    ):  # fmt: skip
        limits = {"max_action_tokens": max_action_tokens, "max_actions": max_actions, "max_elements": max_elements, "timeout": timeout}
        for argument, value in limits.items():
            if not value > 0:
                raise ValueError(f"{argument} must be > 0, got {value}")
        self._folder = _pages_folder()
        for page in pages:
            if not re.fullmatch(r"[a-z0-9-]+", page) or not (self._folder / f"{page}.html").is_file():
                raise ValueError(f"pages must be MiniWoB++'s, got {page!r}")
        if not pages:
            raise ValueError("pages must name at least one, got none")
        self.pages = tuple(pages)
        self._tokenizer: TextCodec = tokenizer or ByteCodec()
        self._stop = tuple(stop)
        self._max_action_tokens, self._max_actions, self._max_elements = max_action_tokens, max_actions, max_elements
        self._browsers = _Browsers(executable, timeout)  # shared with clones
        self._page: Page | None = None
        self._task: tuple[str, int] | None = None
        self._lines: tuple[str, ...] = ()
        self.verdict: Verdict | None = None

    def tasks(self, seed: int, n: int, split: Split = "train") -> list[tuple[str, int]]:
        """n different tasks of one split, the pages by turns; 80, 5 and 15 in a hundred are in train, validation and test, by a hash of both."""
        draw, found = np.random.default_rng(seed), dict[tuple[str, int], None]()
        while len(found) < n:
            task = (self.pages[len(found) % len(self.pages)], int(draw.integers(1 << 31)))
            if split_of(f"{task[0]}/{task[1]}") == split:
                found[task] = None
        return list(found)

    def demonstrator(self, *, error_rate: float = 0.0) -> MiniWoBDemonstrator:
        """A player of the pages in MINIWOB_TASKS."""
        return MiniWoBDemonstrator(error_rate)

    def start(self) -> MiniWoB:
        """Starts the browser before the first episode does. Raises: BrowserUnavailable."""
        self._browsers.running()
        return self

    def reset(self, task: tuple[str, int], seed: int = 0) -> Step:
        """Opens a task's page. Raises: ValueError for what is no task; BrowserUnavailable; EnvironmentFault where the browser hangs or crashes."""
        if not isinstance(task, (tuple, list)) or len(task) != 2 or task[0] not in self.pages or not isinstance(task[1], int):
            raise ValueError(f"task must be a pair (one of {', '.join(self.pages)}, a number), got {task!r}")
        self._task, self._lines, self.verdict = (str(task[0]), int(task[1])), (), None
        return Step([self._ask(self._opened())], (0.0,))

    def step(self, action: ArrayLike) -> Step:
        """Does one line. Raises: RuntimeError before a reset or after the end; EnvironmentFault where the browser hangs or crashes."""
        if self._task is None or self.verdict is not None:
            raise RuntimeError("step needs a reset before it, and none after the end")
        if self._page is None or not self._page.is_open:  # a copy made within the episode, or another's fault ended the browser
            self._opened()
            for line in self._lines:
                self._do(line)
        line = self._tokenizer.decode(without_stop(action, self._stop))
        self._lines = (*self._lines, line)
        complaint, state = self._do(line)
        if not state["here"]:
            self.verdict = Verdict(0.0, "the page was left")
        elif state["over"]:
            reward = state["reward"]
            is_number = type(reward) in (int, float) and math.isfinite(reward)
            self.verdict = Verdict(min(1.0, max(0.0, float(reward)))) if is_number else Verdict(0.0, f"the page's reward is {reward!r}")
        elif len(self._lines) == self._max_actions:
            self.verdict = Verdict(0.0, f"not done in {self._max_actions} lines")
        if self.verdict is not None:
            self._leave()
            return Step([], (self.verdict.score,), terminated=True)
        return Step([self._ask(complaint + self._shown(state))], (0.0,))

    def clone(self) -> MiniWoB:
        """A copy in the same state, which plays the episode again in a window of its own when it is first stepped."""
        copy = object.__new__(MiniWoB)
        copy.__dict__.update(self.__dict__)
        copy._page = None
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> MiniWoB:
        return self.clone()

    def close(self) -> None:
        """Ends the browser, all copies' windows with it."""
        self._page = None
        self._browsers.close()

    def __del__(self) -> None:
        if getattr(self, "_page", None) is not None:
            self._leave()

    def _opened(self) -> str:
        assert self._task is not None
        self._leave()
        self._page = Page(self._browsers.running())
        self._page.open(self._folder / f"{self._task[0]}.html")
        self._page.evaluate(_START.format(seed=json.dumps(str(self._task[1])), policy=json.dumps(_POLICY), episode=self._episode))
        self._page.observe(_listing())
        return self._shown(self._state())

    @property
    def _episode(self) -> int:
        assert self._task is not None
        return self._task[1] + 1

    def _leave(self) -> None:
        page, self._page = self._page, None
        if page is not None:
            page.close()

    def _state(self) -> dict[str, Any]:
        assert self._page is not None
        try:
            state: dict[str, Any] = self._page.evaluate(_STATE.format(episode=self._episode, settle=_SETTLE_MS))
        except EnvironmentFault:
            raise
        except RuntimeError:  # another page has none of what is asked for
            return {"here": False}
        return state

    def _shown(self, state: dict[str, Any]) -> str:
        assert self._page is not None
        return f"{state['task']}\n{self._page.observe(f'list({self._max_elements})')}\n"

    def _do(self, line: str) -> tuple[str, dict[str, Any]]:
        """What there is to say against an action, and the page's state after it."""
        try:
            complaint = self._done(line)
        except EnvironmentFault:
            raise
        except RuntimeError:  # the page went away under it
            complaint = "it could not be done"
        return f"? {complaint}\n" if complaint else "", self._state()

    def _done(self, line: str) -> str | None:
        assert self._page is not None
        found = _ACTION.fullmatch(line)
        if found is None:
            return _USAGE
        clicked, at, typed, into, quoted, _, key = found.groups()
        if clicked:
            return self._click(int(at))
        if typed:
            return self._type(int(into), quoted)
        if key not in _KEYS:
            return f"keys are {', '.join(_KEYS)}"
        self._press(key)
        return None

    def _press(self, key: str) -> None:
        assert self._page is not None
        keys = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        pressed = {"type": "keyDown", "text": "\r"} if key == "Enter" else {"type": "rawKeyDown"}
        self._page.call("Input.dispatchKeyEvent", **pressed, **keys)
        self._page.call("Input.dispatchKeyEvent", type="keyUp", **keys)

    def _click(self, number: int) -> str | None:
        assert self._page is not None
        place = self._page.observe(f"aim({number})")
        if not isinstance(place, list):
            return place
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self._page.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], **button)
        return None

    def _type(self, number: int, quoted: str) -> str | None:
        assert self._page is not None
        try:
            text = json.loads(quoted)
        except ValueError:
            return "the text must be a JSON string"
        if not text.isprintable():
            return "the text must be of printable characters"
        refused: str | None = self._page.observe(f"enter({number})")
        if refused:
            return refused
        if text:
            self._page.call("Input.insertText", text=text)
        else:
            self._press("Backspace")
        return None

    def _ask(self, text: str) -> Observation:
        tokens = np.asarray(self._tokenizer.encode(text), np.int32)
        return Observation(tokens, stop=self._stop, max_action_tokens=self._max_action_tokens)


class MiniWoBDemonstrator:
    """Does the tasks in MINIWOB_TASKS by what it reads, a pure function of (observation, seed).

    Args:
        error_rate: probability, at each action, of a click on any element instead.
    Raises: ValueError unless that is in [0, 1].
    """

    def __init__(self, error_rate: float = 0.0):
        if not 0 <= error_rate <= 1:
            raise ValueError(f"error_rate must be in [0, 1], got {error_rate}")
        self._error_rate = error_rate

    def __call__(self, observation: Observation, seed: int) -> list[int]:
        """The next line's bytes. Raises: ValueError for a page that it cannot do."""
        lines = bytes(np.asarray(observation.tokens, np.uint8)).decode().removesuffix("\n").split("\n")
        task, *listed = [line for line in lines if not line.startswith("? ")]
        draw = np.random.default_rng(seed)
        if listed and draw.random() < self._error_rate:
            return [*f"click {int(draw.integers(len(listed))) + 1}\n".encode()]
        return [*f"{_next_line(task, [_Listed.read(line) for line in listed])}\n".encode()]


class _Listed:
    """One line of a page."""

    def __init__(self, number: str, tag: str, text: str, state: str):
        self.number, self.tag, self.text, self.state = number, tag, text, state

    @classmethod
    def read(cls, line: str) -> _Listed:
        found = re.fullmatch(r'(\d+) (\S+)(?: ("(?:[^"\\]|\\.)*"))?(?: (?:= )?(.*))?', line)
        if found is None:
            raise ValueError(f"this is no line of a page: {line!r}")
        return cls(found[1], found[2], json.loads(found[3]) if found[3] else "", found[4] or "")


def _next_line(task: str, page: list[_Listed]) -> str:
    def click(*tags: str, text: str | None = None) -> str:
        for listed in page:
            if listed.tag in tags and text in (None, listed.text):
                return f"click {listed.number}"
        raise ValueError(f"there is no {' or '.join(tags)} {text!r} on the page of {task!r}")

    if found := re.fullmatch(r'Click on the "(.*)" button\.', task):
        return click("button", text=found[1])
    if found := re.fullmatch(r'Click on the link "(.*)"\.', task):
        return click("span", text=found[1])
    if task == "Click the button.":
        return click("button")
    if task == "Focus into the textbox.":
        return click("input")
    if found := re.fullmatch(r'Enter "(.*)" into the text field and press Submit\.', task):
        return _typed(page, "input", found[1]) or click("button", text="Submit")
    if found := re.fullmatch(r'Enter the username "(.*)" and the password "(.*)" into the text fields and press login\.', task):
        return _typed(page, "input", found[1]) or _typed(page, "input.password", found[2]) or click("button", text="Login")
    if found := re.fullmatch(r"Select (.*) and click Submit\.", task):
        wanted = [found[1].removesuffix(" from the list")] if found[1].endswith(" from the list") else found[1].split(", ")
        for listed in page:
            is_wanted = listed.text in wanted
            may_click = listed.tag == "input.checkbox" or (is_wanted and listed.tag in ("input.radio", "option"))  # the others let go by themselves
            if may_click and is_wanted != (listed.state == "on"):
                return f"click {listed.number}"
        return click("button", text="Submit")
    raise ValueError(f"a task to demonstrate must be one of {', '.join(MINIWOB_TASKS)}, got {task!r}")


def _typed(page: list[_Listed], tag: str, text: str) -> str | None:
    """Types into the first such field, unless the text stands there."""
    field = next(listed for listed in page if listed.tag == tag)
    return None if field.state == json.dumps(text, ensure_ascii=False) else f"type {field.number} {json.dumps(text, ensure_ascii=False)}"


class _Browsers:
    """One browser at a time, started when it is needed, in this process and not in those that are forked from it."""

    def __init__(self, executable: str | None, timeout: float):
        self._executable, self._timeout = executable, timeout
        self._browser: Chromium | None = None
        self._starting = threading.Lock()

    def running(self) -> Chromium:
        with self._starting:
            if self._browser is None or not self._browser.is_open:
                self._browser = Chromium(self._executable, timeout=self._timeout)
            return self._browser

    def close(self) -> None:
        with self._starting:
            if self._browser is not None:
                self._browser.close()


@functools.cache
def _listing() -> str:
    return Path(__file__).with_name("miniwob.js").read_text()


def _pages_folder() -> Path:
    found = importlib.util.find_spec("miniwob")
    if found is None or found.origin is None:
        raise ImportError("MiniWoB++'s pages need it: pip install 'paradigm-trainer[computer]'")
    return Path(found.origin).with_name("html") / "miniwob"
