"""Requests that come and go: events, cancellation, back-pressure, weights that change under them, and what those who wait learn of failures."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from paradigm.async_sampler import AsyncSampler, Finished, RequestCancelled, SamplerClosed, Tokens
from paradigm.batch import PackedBatch
from paradigm.environments import Arithmetic, ConnectFour
from paradigm.environments.protocol import Step
from paradigm.policy import Policy, PolicyConfig
from paradigm.rollout_driver import RolloutDriver
from paradigm.sampler import Sampler
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import TrajectoryBuffer
from tests.sampler_cases import Scripted, ask, assert_same, one_thread, over, random_table  # noqa: F401  # a fixture

SECONDS = 60.0  # after which something hangs, however slow the machine


def run(main: Callable[[], Any]) -> Any:
    async def limited() -> Any:
        return await asyncio.wait_for(main(), SECONDS)

    return asyncio.run(limited())


def make(vocab_size: int = 272, seed: int = 0, **changes: Any) -> Policy:
    shape = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "head_dim": 16, "intermediate_size": 32, "initializer_range": 0.5}
    return Policy(PolicyConfig(vocab_size=vocab_size, **{**shape, **changes}), seed=seed)


def talk(turns: int = 3, length: int = 6) -> Scripted:
    """A few turns of a fixed length; a task is a token."""

    def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
        return over((float(task),)) if len(actions) == turns else ask([task % 40, 7, len(actions)], length)

    return Scripted(answer)


class Gate:
    """An environment that answers an action only while its gate is open."""

    def __init__(self) -> None:
        self.open, self.num_waiting = threading.Event(), 0

    def world(self) -> Scripted:
        def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
            if not actions:
                return ask([task % 40, 1], 2)
            self.num_waiting += 1
            assert self.open.wait(SECONDS)
            return over()

        return Scripted(answer)


@pytest.mark.parametrize("kind", ["arithmetic", "connect_four", "python"])
def test_requests_give_what_a_collection_gives(kind: str) -> None:
    world = {"arithmetic": Arithmetic(), "connect_four": ConnectFour(), "python": talk()}[kind]
    tasks: Any = list(range(6)) if kind == "python" else list(world.tasks(3, 6))
    policy = make()
    expected = Sampler(policy, slots=64).collect(world, tasks, group_size=2, key=(5, 1), max_tokens=70, temperature=0.8)

    async def main() -> list[TrajectoryBuffer]:
        async with AsyncSampler(Sampler(policy, slots=5), world, key=(5, 1), max_tokens=70) as rollouts:
            requests = [await rollouts.submit(task, temperature=0.8, group=row, stream=False) for row, task in enumerate(tasks) for _ in range(2)]
            assert [request.index for request in requests] == list(range(12))
            return [await request.result() for request in requests]

    apart = run(main)
    assert [t.task for buffer in apart for t in buffer] == [t.task for t in expected] and all(buffer.key == (5, 1) for buffer in apart)
    together = TrajectoryBuffer.concatenate(apart)
    together.group, together.task = expected.group, expected.task  # numbered by buffer
    assert_same(expected, together)


def test_events_hold_every_token_once_in_the_order_of_the_stream() -> None:
    world, policy = ConnectFour(), make()

    async def main() -> None:
        async with AsyncSampler(Sampler(policy, slots=6), world, key=(5, 1), max_tokens=100) as rollouts:
            requests = [await rollouts.submit(opening) for opening in world.tasks(3, 4)]
            silent = await rollouts.submit(next(iter(world.tasks(3, 1))), stream=False)
            for request in requests:
                events = [event async for event in request]
                *pieces, finished = events
                assert isinstance(finished, Finished) and finished.trajectories is await request.result()
                assert max(piece.action_mask.sum() for piece in pieces if isinstance(piece, Tokens)) == 1, "drawn tokens come one by one"
                for trajectory in finished.trajectories:
                    mine = [piece for piece in pieces if isinstance(piece, Tokens) and piece.seat == trajectory.seat]
                    assert [piece.start for piece in mine] == np.cumsum([0, *(len(piece.tokens) for piece in mine[:-1])]).tolist()
                    for name in ("tokens", "logprobs", "version", "action_mask", "segment"):
                        assert np.array_equal(np.concatenate([getattr(piece, name) for piece in mine]), getattr(trajectory, name)), name
                with pytest.raises(StopAsyncIteration):
                    await anext(request)
            assert [type(event) for event in [event async for event in silent]] == [Finished]

    run(main)


def test_requests_have_their_own_parameters_and_indices_name_their_noise() -> None:
    policy, world = make(), talk(turns=1, length=8)
    greedy = Sampler(policy).collect(world, [3], group_size=1, temperature=0, max_tokens=40)
    hot = Sampler(policy).collect(world, [3] * 8, group_size=1, temperature=1.5, top_k=5, max_tokens=40, key=(0, 0))

    async def main() -> None:
        async with AsyncSampler(Sampler(policy, slots=3), world, max_tokens=40) as rollouts:
            first = await rollouts.submit(3, temperature=0, index=1000)
            seventh = await rollouts.submit(3, temperature=1.5, top_k=5, index=7)
            short = await rollouts.submit(3, max_tokens=6)
            assert np.array_equal((await first.result()).tokens, greedy.tokens) and (await first.result()).temperature == 1
            result = await seventh.result()
            assert np.array_equal(result.tokens, hot[7].tokens) and np.array_equal(result.logprobs, hot[7].logprobs)
            assert result.temperature == np.float32(1.5) and (await short.result())[0].stop_reason == "length"
            again = await rollouts.submit(3, temperature=1.5, top_k=5, index=7)
            assert_same(await again.result(), result)

    run(main)


def test_a_cancelled_request_frees_its_slot_and_blocks() -> None:
    gate, policy = Gate(), make()

    async def main() -> None:
        async with AsyncSampler(Sampler(policy, slots=2), gate.world(), max_tokens=40, threads=4) as rollouts:
            at_work = [await rollouts.submit(task) for task in (1, 2)]
            waiting = await rollouts.submit(3)
            while gate.num_waiting < 2:
                await asyncio.sleep(0.001)
            assert waiting.cancel() and not waiting.cancel() and waiting.is_over
            assert at_work[0].cancel()
            for request in (at_work[0], waiting):
                with pytest.raises(RequestCancelled, match=f"request {request.index} was cancelled"):
                    await request.result()
                with pytest.raises(RequestCancelled):
                    await anext(request)
            gate.open.set()
            assert (await at_work[1].result())[0].stop_reason == "terminated" and not at_work[1].cancel()
            async with await rollouts.submit(4) as left:
                await anext(left)
            assert left.is_over
            assert (await (await rollouts.submit(5)).result())[0].task == 5
            while rollouts._requests:  # until the thread has told of all that are over
                await asyncio.sleep(0.001)
            assert rollouts._core.is_idle and rollouts._core.counters(0)["free_blocks"] == rollouts._core.buffers(0)["block_table"].size
        assert rollouts.sampler.stats is not None and rollouts.sampler.stats.num_failed == 0

    run(main)


def test_cancelling_in_the_middle_of_generation_leaves_the_others_as_they_were() -> None:
    policy, world = make(), talk(turns=2, length=20)
    expected = Sampler(policy).collect(world, list(range(12)), group_size=1, max_tokens=60)

    async def main() -> None:
        async with AsyncSampler(Sampler(policy, slots=4, cache_tokens=128), world, max_tokens=60) as rollouts:
            requests = [await rollouts.submit(task) for task in range(8)]
            for request in requests[::2]:
                async for event in request:
                    if isinstance(event, Tokens) and event.start >= 8:
                        request.cancel()
                        break
            requests += [await rollouts.submit(task) for task in range(8, 12)]
            for request in [*requests[1:8:2], *requests[8:]]:
                assert np.array_equal((await request.result()).logprobs, expected[request.index].logprobs)

    run(main)


def test_submit_waits_while_there_are_as_many_as_may_be() -> None:
    gate, policy = Gate(), random_table()

    async def main() -> None:
        async with AsyncSampler(Sampler(policy, slots=8), gate.world(), max_requests=3) as rollouts:
            requests = [await rollouts.submit(task, stream=False) for task in range(3)]
            fourth = asyncio.create_task(rollouts.submit(3))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(fourth), 0.2)
            fifth = asyncio.create_task(rollouts.submit(4))
            await asyncio.sleep(0.05)
            fifth.cancel()  # it leaves the queue
            gate.open.set()
            await requests[0].result()
            assert (await (await fourth).result())[0].task == 3
            await asyncio.gather(*(request.result() for request in requests))
            assert [(await request.result())[0].task for request in [await rollouts.submit(task) for task in range(3)]] == [0, 1, 2]

    run(main)


def test_the_loop_is_not_blocked_by_a_step() -> None:
    class Slow(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = random_table()
            self.head_weight = self.inner.head_weight

        def forward(self, tokens: torch.Tensor, layout: Any) -> torch.Tensor:
            time.sleep(0.25)
            return self.inner(tokens, layout)

    async def main() -> None:
        async with AsyncSampler(Sampler(Slow()), talk(turns=1, length=3)) as rollouts:
            request = await rollouts.submit(1)
            ticks = 0
            while not request.is_over:
                await asyncio.sleep(0.005)
                ticks += 1
            assert ticks > 20  # three steps of 250 ms

    run(main)


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of milliseconds rather than microseconds, so that on a busy machine too the event loop is heard between them."""
    step = RolloutDriver.step

    def slow(driver: RolloutDriver) -> None:
        step(driver)
        time.sleep(0.003)

    monkeypatch.setattr(RolloutDriver, "step", slow)


@pytest.mark.parametrize("on_update", ["recompute", "keep"])
def test_weights_change_while_requests_are_at_work(on_update: Any, paced: None) -> None:
    old, new = make(seed=0), make(seed=1)
    sampler = Sampler(make(seed=0), slots=6)

    async def main() -> list[TrajectoryBuffer]:
        async with AsyncSampler(sampler, talk(turns=1, length=120), max_tokens=200) as rollouts:
            requests = [await rollouts.submit(task % 2) for task in range(6)]
            for request in requests:
                for _ in range(3):
                    await anext(request)
            assert await rollouts.update_weights(new, version=4, on_update=on_update) == 4
            with pytest.raises(ValueError, match=r"version must be greater than 4, got 4"):
                await rollouts.update_weights(new, version=4)
            with pytest.raises(ValueError, match=r"weights must have the policy's tensors, got missing or unexpected ones: \['lm_head.weight'"):
                await rollouts.update_weights({})
            return [await request.result() for request in requests]

    buffer = TrajectoryBuffer.concatenate(run(main))
    assert sampler.version == 4
    for batch in PackedBatch.pack(buffer, max_tokens=4096):
        before, after = batch.version == 0, batch.version == 4
        assert (before | after).all() and before.sum() > 6 and after.sum() > 6
        behaviour = batch.streams["behaviour_logprob"]
        assert torch.equal(old.log_probs(batch)[before], behaviour[before])
        assert torch.equal(new.log_probs(batch)[after], behaviour[after]) == (on_update == "recompute")
    for trajectory in buffer:
        assert (np.diff(trajectory.version[trajectory.action_mask]) >= 0).all()


def test_an_optimizer_may_step_between_two_launches(paced: None) -> None:
    policy = make()
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.5)

    async def main() -> TrajectoryBuffer:
        async with AsyncSampler(Sampler(policy, slots=2), talk(turns=1, length=600), max_tokens=700) as rollouts:
            request = await rollouts.submit(1)
            await anext(request)
            for parameter in policy.parameters():
                parameter.grad = torch.full_like(parameter, 0.1)
            assert await rollouts.update_weights(optimizer.step) == 1
            return await request.result()

    (batch,) = PackedBatch.pack(run(main), max_tokens=1000)
    after = batch.version == 1
    assert after.sum() > 3 and torch.equal(policy.log_probs(batch)[after], batch.streams["behaviour_logprob"][after])


@pytest.mark.parametrize("how", ["closed", "the policy raises", "an update raises"])
def test_all_who_wait_learn_that_the_sampler_is_gone(how: str) -> None:
    policy = make(max_position_embeddings=20_000)

    def broken(*arguments: Any, **options: Any) -> torch.Tensor:
        raise ZeroDivisionError("division by zero")

    async def main() -> None:
        # it would take far longer than this test
        async with AsyncSampler(Sampler(policy, slots=4), talk(turns=1, length=19_000), max_requests=2) as rollouts:
            requests = [await rollouts.submit(task) for task in range(2)]
            await anext(requests[1])

            async def iterate() -> None:
                async for _ in requests[0]:
                    pass

            waiting = [iterate(), requests[0].result(), requests[1].result(), rollouts.submit(3), rollouts.submit(4)]
            waiting = [asyncio.create_task(each) for each in waiting]
            await asyncio.sleep(0.05)
            if how == "closed":
                await rollouts.close()
            elif how == "an update raises":
                with pytest.raises(ZeroDivisionError):
                    await rollouts.update_weights(lambda: 1 / 0)
            else:
                policy.forward = broken  # type: ignore[method-assign]
            message = "the sampler is closed" if how == "closed" else "the sampler failed: division by zero"
            for outcome in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(outcome, SamplerClosed) and str(outcome) == message, outcome
                assert (outcome.__cause__ is None) if how == "closed" else isinstance(outcome.__cause__, ZeroDivisionError)
            for attempt in (rollouts.submit(5), rollouts.update_weights(policy)):
                with pytest.raises(SamplerClosed, match=message):
                    await attempt
        await rollouts.close()

    run(main)


def test_an_environment_that_fails_costs_its_own_request() -> None:
    def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
        return ask([1], 2) if not actions else over() if task else 1 // 0  # type: ignore[return-value]

    async def main() -> None:
        async with AsyncSampler(Sampler(random_table()), Scripted(answer)) as rollouts:
            bad, good = await rollouts.submit(0), await rollouts.submit(1)
            (trajectory,) = await bad.result()
            assert trajectory.failed and "ZeroDivisionError" in trajectory.extras["failure"]
            assert not (await good.result())[0].failed

    run(main)


def test_each_request_has_its_own_stop_strings() -> None:
    world, policy = talk(turns=2, length=40), make(vocab_size=256)
    plain = Sampler(policy).collect(world, [3], group_size=8, max_tokens=100)

    async def main() -> None:
        async with AsyncSampler(Sampler(policy, slots=3, tokenizer=Tokenizer()), world, max_tokens=100) as rollouts:
            texts = [bytes(trajectory.tokens[10:13].tolist()) for trajectory in plain]
            requests = [await rollouts.submit(3, index=index, group=0, stop=["said by nobody", text]) for index, text in enumerate(texts)]
            for request, text, whole in zip(requests, texts, plain):
                (stopped,) = await request.result()
                end = 3 + bytes(whole.tokens[3:].tolist()).find(text) + len(text)
                assert stopped.stop_reason == "stop" and stopped.truncated and np.array_equal(stopped.tokens, whole.tokens[:end])

    run(main)


def test_what_is_refused() -> None:
    policy = make()
    with pytest.raises(ValueError, match="max_requests must be >= 1, got 0"):
        AsyncSampler(Sampler(policy), talk(), max_requests=0)

    async def main() -> None:
        gate, sampler = Gate(), Sampler(policy, slots=2)
        with pytest.raises(RuntimeError, match="must be entered before it is used"):
            await AsyncSampler(sampler, talk()).submit(1)
        async with AsyncSampler(sampler, gate.world(), max_tokens=40, max_requests=8) as rollouts:
            await rollouts.submit(1, index=3)
            for options, message in (
                ({"temperature": -1.0}, "temperature must be finite and >= 0"),
                ({"top_p": 0.0}, r"top_p must be in \(0, 1\]"),
                ({"max_tokens": 41}, r"max_tokens must be in 1..40, got 41"),
                ({"index": -1}, "index must be in 0"),
                ({"group": -1}, "group must be >= 0, got -1"),
                ({"index": 3}, "index must not be that of a request which is not over, got 3"),
                ({"stop": "a"}, "a stop string needs to know what tokens say: give the sampler its tokenizer"),
            ):
                with pytest.raises(ValueError, match=message):
                    await rollouts.submit(1, **options)  # type: ignore[arg-type]
            with pytest.raises(RuntimeError, match="this one is at work in another collection"):
                sampler.collect(talk(), [1])
            with pytest.raises(SamplerClosed, match="the sampler failed: a sampler does one thing at a time"):
                await AsyncSampler(sampler, talk()).__aenter__()
            with pytest.raises(RuntimeError, match="can be entered once"):
                await rollouts.__aenter__()
            gate.open.set()
            assert len([await rollouts.submit(task) for task in range(7)]) == 7, "what was refused takes no room"

    run(main)
