"""What a trainer and its environment workers say to each other: frames of a length and msgpack.

A worker is told tasks pickled; of what it says nothing is unpickled. Its frames are bounded in size and checked against the types below,
tokens travel as raw int32, and the sampler checks what they mean (vocabulary, seats, finite rewards) as it does for any environment.
"""

from __future__ import annotations

import struct
import traceback
from typing import Any, Literal

import msgspec
import numpy as np

from paradigm.environments.protocol import EnvironmentFault, Observation, Step

__all__ = ["HEADER", "MAX_MESSAGE", "Answer", "Call", "Hello", "decode_step", "describe", "encode_step", "fault_of"]

HEADER = struct.Struct("<I")  # bytes of the frame that follows
MAX_MESSAGE = 4000  # characters
_WIRE = np.dtype("<i4")


class Hello(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A worker's first frame: its environment, or why it has none."""

    num_seats: int
    name: str
    replayable: bool
    error: str = ""


class Call(msgspec.Struct, array_like=True):
    """What a worker is to do with one of its copies of the environment; its answer is to the last of it.

    Attributes:
        number: repeated in the answer.
        copy: which copy; made if there is none.
        forgotten: copies that are needed no longer.
        reset: a pickled task and its seed, or None to go on where the copy is.
        actions: int32 each, taken after the reset.
    """

    number: int
    copy: int
    forgotten: list[int]
    reset: tuple[bytes, int] | None
    actions: list[bytes]


class Answer(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A worker's answer.

    Attributes:
        replayed: CRC-32 of the steps before the last.
        step: see `encode_step`; empty after a fault.
        fault, message: what went wrong; the copy is gone.
    """

    number: int
    replayed: int = 0
    step: bytes = b""
    fault: Literal["", "raise", "garbage", "oversize"] = ""
    message: str = ""


class _Observation(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    tokens: bytes
    seat: int
    legal: list[bytes] | None
    stop: bytes | None
    max_action_tokens: int
    thought_until: int


class _Step(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    observations: list[_Observation]
    rewards: list[float]
    terminated: bool
    truncated: bool


_step_decoder = msgspec.msgpack.Decoder(_Step)


def describe(environment: Any) -> Hello:
    """What an environment says of itself. Raises: TypeError if it is none."""
    if isinstance(environment, type) or not (hasattr(environment, "reset") and hasattr(environment, "step")):
        raise TypeError(f"the factory must return an environment with the methods reset and step, got {environment!r}")
    name = getattr(environment, "name", type(environment).__name__)
    return Hello(int(getattr(environment, "num_seats", 1)), str(name), bool(getattr(environment, "replayable", True)))


def encode_step(step: Any, num_seats: int, max_bytes: int) -> bytes:
    """What an environment answered, as bytes. Takes what the sampler takes of an environment in its own process.

    Raises: EnvironmentFault with the reason "garbage" or "oversize".
    """
    try:
        observations = [_encode_observation(observation, max_bytes) for observation in step.observations]
        plain = _Step(observations, _rewards(step.rewards, num_seats), bool(step.terminated), bool(step.truncated))
        encoded = msgspec.msgpack.encode(plain)
    except EnvironmentFault:
        raise
    except BaseException as error:  # attributes of what an environment returned may raise anything
        raise EnvironmentFault("garbage", _told(error)) from error
    if len(encoded) > max_bytes:
        raise _oversize(len(encoded), max_bytes)
    return encoded


def decode_step(encoded: bytes) -> Step:
    """The step that `encode_step` wrote. Raises: ValueError if it is none."""
    step = _step_decoder.decode(encoded)
    observations = [
        Observation(
            _array(o.tokens), o.seat, None if o.legal is None else [_array(sequence) for sequence in o.legal],
            None if o.stop is None else _array(o.stop), o.max_action_tokens, o.thought_until,
        )
        for o in step.observations
    ]  # fmt: skip
    return Step(observations, step.rewards, step.terminated, step.truncated)


def fault_of(error: BaseException) -> tuple[Literal["raise", "garbage", "oversize"], str]:
    """The reason and the message of what an environment raised."""
    if isinstance(error, EnvironmentFault) and error.failure_reason in ("garbage", "oversize"):
        return error.failure_reason, str(error)  # type: ignore[return-value]
    return "raise", _told(error)


def _told(error: BaseException) -> str:
    """What was raised and where, as the sampler tells it of an environment in its own process."""
    what = "".join(traceback.format_exception_only(type(error), error)).strip()  # even if its __str__ raises
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return (what[: MAX_MESSAGE // 2] + "\n\nAt:" + "".join(f"\n  {f.filename}({f.lineno}): {f.name}" for f in reversed(frames)))[:MAX_MESSAGE]


def _oversize(num_bytes: int, max_bytes: int) -> EnvironmentFault:
    return EnvironmentFault("oversize", f"an answer must have at most max_bytes={max_bytes}, got {num_bytes}")


def _encode_observation(observation: Any, max_bytes: int) -> _Observation:
    legal, stop = observation.legal, observation.stop
    if legal is not None:
        given, legal = legal, []
        left = max_bytes
        for sequence in given:
            legal.append(_tokens(sequence, "legal", left))
            left -= len(legal[-1])
        if not legal:
            raise ValueError("legal must be None or hold at least one sequence, got none")
    limit, thought_until = observation.max_action_tokens, getattr(observation, "thought_until", None)
    return _Observation(
        tokens=_tokens(observation.tokens, "tokens", max_bytes), seat=_int32(observation.seat, "seat"), legal=legal,
        stop=None if stop is None else _tokens(stop, "stop", max_bytes), max_action_tokens=0 if limit is None else _int32(limit, "max_action_tokens"),
        thought_until=-1 if thought_until is None else _int32(thought_until, "thought_until"),
    )  # fmt: skip


def _tokens(values: Any, name: str, max_bytes: int) -> bytes:
    if hasattr(values, "__len__") and len(values) * _WIRE.itemsize > max_bytes:
        raise _oversize(len(values) * _WIRE.itemsize, max_bytes)  # before it is copied
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name} must be integers in one dimension, got {array.ndim} dimensions of {array.dtype}")
    info = np.iinfo(np.int32)
    if array.size and not (info.min <= int(array.min()) and int(array.max()) <= info.max):
        raise ValueError(f"{name} must fit int32, got {array.min()} to {array.max()}")
    return array.astype(_WIRE).tobytes()


def _int32(value: Any, name: str) -> int:
    number = value.__index__()
    if not -(1 << 31) <= number < 1 << 31:
        raise ValueError(f"{name} must fit int32, got {number}")
    return int(number)


def _rewards(rewards: Any, num_seats: int) -> list[float]:
    if rewards is None:
        return []
    if isinstance(rewards, dict):
        outside = [seat for seat in rewards if not 0 <= seat < num_seats]
        if outside:
            raise ValueError(f"rewards must be for seats 0..{num_seats - 1}, got {outside}")
        return [_reward(rewards.get(seat, 0.0)) for seat in range(num_seats)]
    if hasattr(rewards, "__len__"):
        return [_reward(reward) for reward in rewards]
    if num_seats != 1:
        raise ValueError(f"rewards must be one a seat ({num_seats}), got one number")
    return [_reward(rewards)]


def _reward(reward: Any) -> float:
    if isinstance(reward, str | bytes):
        raise ValueError(f"a reward must be a number, got {reward!r}")
    return float(reward)


def _array(raw: bytes) -> Any:
    if len(raw) % _WIRE.itemsize:
        raise ValueError(f"tokens must be int32, got {len(raw)} bytes")
    return np.frombuffer(raw, _WIRE)
