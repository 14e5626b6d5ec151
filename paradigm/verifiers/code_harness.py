"""What runs inside the two sandboxes of a verdict on code: the candidate's side, which is nobody's friend, and the tests' side.

This file's text is handed to `python -c`, so it imports the standard library only. Lines of JSON go in at stdin and out at stdout; what
programs print goes to stderr. Values cross as plain data, tagged, so that no object of the candidate's making reaches a test.

    tests -> verifier:      ["up"]   ["call", values]                                  ["done", results]
    verifier -> tests:      ["judge", ...]              [how, ...] of the candidate's reply
    verifier -> candidate:  nonce ["load", ...]         nonce ["call", values]
    candidate -> verifier:  ["up"]   nonce ["loaded"]   nonce ["value", value] | ["raised", names, values, text] | ["odd", text]
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import re
import reprlib
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NoReturn

MAX_DEPTH = 100
MAX_NODES = 200_000
_MAX_TEXT = 500

# what a test may meet as an exception of its own; StopIteration, GeneratorExit and SystemExit would end the test's loops or the test
_EXCEPTIONS = {
    kind.__name__: kind
    for kind in (
        ArithmeticError, AssertionError, AttributeError, EOFError, FileNotFoundError, ImportError, IndexError, KeyError, LookupError, MemoryError,
        NameError, NotImplementedError, OSError, OverflowError, PermissionError, RecursionError, RuntimeError, TimeoutError, TypeError,
        ValueError, ZeroDivisionError,
    )
}  # fmt: skip


class WireError(ValueError):
    """A value that is not plain data, or too much of it."""


class NotPlainError(WireError):
    """A value of a kind that does not cross."""


class CandidateError(Exception):
    """An exception of the candidate's that is none of Python's usual ones."""


class _Broken(BaseException):
    """The candidate is gone, or answered what no candidate answers."""


def encode(value: Any) -> Any:
    """Plain data as JSON. Subclasses cross as what they extend, iterators as what they yield. Raises: WireError."""
    return _encode(value, [MAX_NODES], MAX_DEPTH)


def _encode(value: Any, nodes: list[int], depth: int) -> Any:
    nodes[0] -= 1
    if nodes[0] < 0 or depth < 0:
        raise WireError(f"more than {MAX_NODES} values" if nodes[0] < 0 else f"nested more than {MAX_DEPTH} deep")
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return ["i", format(int(value), "x")]
    if isinstance(value, float):
        return ["f", float.hex(value)]
    if isinstance(value, complex):
        return ["c", float.hex(value.real), float.hex(value.imag)]
    if isinstance(value, (bytes, bytearray)):
        return ["b" if isinstance(value, bytes) else "B", value.hex()]
    if isinstance(value, range):
        return ["r", *(format(bound, "x") for bound in (value.start, value.stop, value.step))]
    if isinstance(value, dict):
        return ["d", *([_encode(k, nodes, depth - 1), _encode(v, nodes, depth - 1)] for k, v in dict.items(value))]
    for tag, kind in (("l", list), ("t", tuple), ("s", set), ("S", frozenset)):
        if isinstance(value, kind):
            return [tag, *(_encode(item, nodes, depth - 1) for item in value)]
    if isinstance(value, Iterator):
        return ["it", *(_encode(item, nodes, depth - 1) for item in value)]
    raise NotPlainError(f"{type(value).__name__} is not plain data")


def decode(message: Any) -> Any:
    """The value of what `encode` made. Raises: WireError for anything else."""
    try:
        return _decode(message, [MAX_NODES], MAX_DEPTH)
    except WireError:
        raise
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise WireError(f"malformed: {error}") from error


def _decode(message: Any, nodes: list[int], depth: int) -> Any:
    nodes[0] -= 1
    if nodes[0] < 0 or depth < 0:
        raise WireError("too many values, or too deep")
    if message is None or isinstance(message, (bool, str)):
        return message
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise WireError("a value without a tag")
    tag, *rest = message
    if tag == "i":
        (digits,) = rest
        return int(digits, 16)
    if tag == "f":
        (digits,) = rest
        return float.fromhex(digits)
    if tag == "c":
        real, imaginary = rest
        return complex(float.fromhex(real), float.fromhex(imaginary))
    if tag in ("b", "B"):
        (digits,) = rest
        return bytes.fromhex(digits) if tag == "b" else bytearray.fromhex(digits)
    if tag == "r":
        start, stop, step = rest
        return range(int(start, 16), int(stop, 16), int(step, 16))
    if tag == "d":
        return {_decode(k, nodes, depth - 1): _decode(v, nodes, depth - 1) for k, v in rest}
    makers: dict[str, Callable[[list[Any]], Any]] = {"l": list, "t": tuple, "s": set, "S": frozenset, "it": iter}
    if tag not in makers:
        raise WireError("an unknown tag")
    return makers[tag]([_decode(item, nodes, depth - 1) for item in rest])


def parse(line: bytes) -> Any:
    """JSON of a line; numbers, which the wire never holds, are refused. Raises: WireError."""
    try:
        return json.loads(line, parse_int=_no_number, parse_float=_no_number, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON of this kind: {type(error).__name__}") from error


def _no_number(text: str) -> NoReturn:
    raise WireError("a bare number")


def equal(got: Any, expected: Any, tolerance: float | None = None) -> bool:
    """Whether a value is the expected one: lists and tuples are alike, numbers equal by value, but no bool is a number; NaN is NaN."""
    if isinstance(expected, bool) or isinstance(got, bool) or expected is None:
        return type(got) is type(expected) and got == expected
    if isinstance(expected, (int, float)):
        if not isinstance(got, (int, float)):
            return False
        if got == expected or (got != got and expected != expected):
            return True
        try:
            return tolerance is not None and math.isclose(got, expected, rel_tol=tolerance, abs_tol=tolerance)
        except OverflowError:  # an int past the floats
            return False
    if isinstance(expected, (list, tuple)):
        return isinstance(got, (list, tuple)) and len(got) == len(expected) and all(equal(g, e, tolerance) for g, e in zip(got, expected))
    if isinstance(expected, dict):
        return isinstance(got, dict) and got.keys() == expected.keys() and all(equal(got[key], expected[key], tolerance) for key in expected)
    return type(got) is type(expected) and got == expected


def _short(value: Any) -> str:
    """A repr for people: bounded, without addresses, which differ from run to run."""
    shortener = reprlib.Repr()
    shortener.maxlist = shortener.maxtuple = shortener.maxset = shortener.maxdict = 20
    shortener.maxstring = shortener.maxother = shortener.maxlong = 200
    try:
        text = shortener.repr(value)
    except ValueError:  # Python writes no int of more than 4300 digits
        text = "<a number of thousands of digits>"
    return _clean(text)


def _clean(text: str) -> str:
    return re.sub(r"\b0x[0-9a-fA-F]{6,}", "0x...", text[:_MAX_TEXT].encode(errors="replace").decode())


def _compile_prompt(prompt: str) -> types.CodeType | None:
    """A prompt that ends with a header needs a body; one that is no code at all has nothing to give."""
    for body in ("", "\n    pass\n", "\n        pass\n"):
        try:
            return compile(prompt + body, "<prompt>", "exec")
        except (SyntaxError, ValueError):
            continue
    return None


def _module(name: str, prompt: str) -> types.ModuleType:
    module = types.ModuleType(name)
    sys.modules[name] = module  # dataclasses look their module up
    code = _compile_prompt(prompt)
    if code is not None:
        with contextlib.suppress(Exception):  # prose may happen to be an expression
            exec(code, module.__dict__)
    return module


class _Channel:
    """The two ends that stdin and stdout were; those become the null device and stderr."""

    def __init__(self) -> None:
        self._input: BinaryIO = os.fdopen(os.dup(0), "rb")
        self._output = os.dup(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)
        os.close(null)

    def read(self) -> bytes:
        line = self._input.readline()
        if not line.endswith(b"\n"):
            os._exit(0)  # the verifier has gone
        return line[:-1]

    def write(self, line: bytes) -> None:
        line += b"\n"
        while line:
            line = line[os.write(self._output, line) :]


def _dumps(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode("ascii")


def run_candidate() -> None:
    """Loads a program and answers calls of its function."""
    channel = _Channel()
    channel.write(_dumps(["up"]))
    function: Any = None
    while True:
        nonce, _, line = channel.read().partition(b" ")
        kind, *rest = json.loads(line)
        try:
            if kind == "load":
                prompt, program, entry_point = rest
                random.seed(0)
                module = _module("solution", prompt)
                exec(compile(program, "<program>", "exec"), module.__dict__)
                if entry_point not in module.__dict__:
                    raise NameError(f"the program defines no {entry_point}")
                function = module.__dict__[entry_point]
                reply = ["loaded"]
            else:
                args, kwargs = decode(rest[0])
                reply = ["value", encode(function(*args, **kwargs))]
            answer = _dumps(reply)
        except WireError as error:
            answer = _dumps(["odd", f"it returned what is not plain data: {error}"])
        except BaseException as error:  # whatever a program raises, SystemExit too, is its answer
            answer = _dumps(_describe(error))
        channel.write(nonce + b" " + answer)


def _describe(error: BaseException) -> list[Any]:
    names = [kind.__name__ for kind in type(error).__mro__]
    frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<program>"]
    line = frames[-1] if frames else getattr(error, "lineno", None)
    try:
        text = str(error)
    except Exception:  # its own __str__ may raise anything
        text = ""
    try:
        values = encode(tuple(error.args))
    except WireError:
        values = encode((text,))
    return ["raised", names, values, _clean(f"{names[0]}: {text}" + (f" (line {line})" if line else ""))]


class _Proxy:
    """Stands for the candidate in the tests: sends a call's arguments, receives its value or exception."""

    def __init__(self, channel: _Channel, name: str):
        self._channel = channel
        self._name = self.__name__ = self.__qualname__ = name
        self.num_calls = 0
        self.broken: str | None = None
        self.unsupported: str | None = None
        self.last = ""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.broken or self.unsupported:
            raise _Broken
        words = [_short(arg) for arg in args] + [f"{key}={_short(value)}" for key, value in kwargs.items()]
        self.last = f"{self._name}({', '.join(words)})"
        try:
            message = _dumps(["call", encode((args, kwargs))])
        except NotPlainError as error:
            self.unsupported = f"the test passes something else than plain data: {error}"
            raise _Broken from None
        except WireError as error:  # an earlier answer, handed on
            self.broken = f"{self.last}: {error}"
            raise _Broken from None
        self.num_calls += 1
        self._channel.write(message)
        try:
            reply = parse(self._channel.read())
            how, *rest = reply
            if how == "value":
                (message,) = rest
                value = decode(message)
                self.last += f" returned {_short(value)}"
                return value
            if how == "raised":
                names, values, text = rest
                self.last += f" raised {_clean(text)}"
                raised = self._exception(names, decode(values))
            else:
                raise WireError(str(rest[0]))
        except (WireError, ValueError, TypeError, IndexError, MemoryError, RecursionError) as error:
            self.broken = f"{self.last}: {_clean(str(error) or type(error).__name__)}"
            raise _Broken from None
        raise raised

    @staticmethod
    def _exception(names: Any, values: Any) -> Exception:
        if not isinstance(values, tuple) or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise WireError("a malformed exception")
        kind = next((_EXCEPTIONS[name] for name in names if name in _EXCEPTIONS), CandidateError)
        return kind(*values)


def run_tests() -> None:
    """Runs tests against the proxy and reports [passed, what was seen, what was wanted] of each."""
    channel = _Channel()
    channel.write(_dumps(["up"]))
    _, prompt, entry_point, tests, seed, tolerance = json.loads(channel.read())
    proxy = _Proxy(channel, entry_point)
    results: list[list[Any]] = []
    random.seed(seed)
    module = _module("tests", prompt)
    for test in tests:
        proxy.last, calls = "", proxy.num_calls
        wanted = test if isinstance(test, str) else ""
        try:
            if isinstance(test, str):
                _run_assertions(test, module, entry_point, proxy)
                passed = True
            else:
                passed, wanted = _run_case(test, proxy, tolerance)
            seen = proxy.last
        except (Exception, SystemExit, _Broken) as error:
            passed, seen, wanted = False, proxy.last, _explain(error, wanted)
            if not isinstance(error, (AssertionError, _Broken)) and f" raised {type(error).__name__}" not in seen:
                seen = f"{seen}; the test then met {type(error).__name__}: {_clean(str(error))}"
        if proxy.num_calls == calls and not proxy.broken:
            proxy.unsupported = proxy.unsupported or f"test {len(results)} never called {entry_point}: {seen or wanted}"
        passed = passed and not proxy.broken and not proxy.unsupported
        results.append([passed, proxy.broken or seen, wanted])
    channel.write(_dumps(["done", results, proxy.unsupported]))


def _run_assertions(test: str, module: types.ModuleType, entry_point: str, proxy: _Proxy) -> None:
    space = dict(module.__dict__)
    space[entry_point] = space["candidate"] = proxy
    exec(compile(test, "<test>", "exec"), space)
    if "check" in space:
        space["check"](proxy)


def _run_case(case: dict[str, Any], proxy: _Proxy, tolerance: float | None) -> tuple[bool, str]:
    raises = case.get("raises")
    try:
        got = proxy(*decode(case["args"]), **decode(case["kwargs"]))
    except Exception as error:
        if raises is None:
            return False, _short(decode(case["expected"]))
        return any(kind.__name__ == raises for kind in type(error).__mro__), f"raises {raises}"
    if raises is not None:
        return False, f"raises {raises}"
    expected = decode(case["expected"])
    return equal(got, expected, tolerance), _short(expected)


def _explain(error: BaseException, test: str) -> str:
    """The line of the test that failed."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<test>"]
    source = test.splitlines()
    return _clean(source[lines[-1] - 1].strip()) if lines and lines[-1] is not None and lines[-1] <= len(source) else _clean(test)


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if entry]  # nothing is imported from the scratch folder
    {"candidate": run_candidate, "tests": run_tests}[sys.argv[1]]()
