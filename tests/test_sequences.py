"""Sequences that are forked, appended to, sampled from, scored and evaluated: the policy's own numbers, bit for bit, whatever is shared."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from paradigm.async_sampler import AsyncSampler, SamplerClosed
from paradigm.batch import PackedBatch
from paradigm.kernels.layout import Layout
from paradigm.policy import Policy, PolicyConfig
from paradigm.sampler import Sampler
from paradigm.sequences import SequenceError
from paradigm.trajectory import TrajectoryBuffer
from tests.sampler_cases import Scripted, ask, one_thread, over, random_table  # noqa: F401  # a fixture

VOCAB = 64


def make(dtype: str = "float32", seed: int = 0) -> Policy:
    config = PolicyConfig(vocab_size=VOCAB, hidden_size=16, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=16, intermediate_size=32,
                          initializer_range=0.5, dtype=dtype, heads=("value",))  # fmt: skip
    policy = Policy(config, seed=seed)
    with torch.no_grad():
        policy.heads["value"].weight.normal_(generator=torch.Generator().manual_seed(seed))
    return policy


def learners(policy: Policy, context: list[int], tokens: np.ndarray, temperature: float, support: np.ndarray | None = None) -> np.ndarray:
    """The policy's log-probs of tokens behind a context, as training computes them."""
    stream = np.array([*context, *tokens], np.int32)
    mask = np.arange(len(stream)) >= len(context)
    extra: dict[str, Any] = {}
    if support is not None:
        rows = np.full(len(stream), -1, np.int32)
        rows[mask] = np.arange(len(tokens))
        table = np.ascontiguousarray(np.packbits(support, axis=1, bitorder="little")).view(np.uint32)
        extra = {"support": rows, "support_table": table}
    arrays = {"tokens": stream, "action_mask": mask, "offsets": np.array([0, len(stream)]), "temperature": np.array([temperature], np.float32)}
    (batch,) = PackedBatch.pack(TrajectoryBuffer.from_arrays(**arrays, **extra), max_tokens=1000)
    return policy.log_probs(batch).numpy()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{}, {"cache_tokens": 96, "max_step_tokens": 9}])
def test_forks_samples_and_scores_are_the_policys_bits(dtype: str, options: dict[str, int]) -> None:
    policy = make(dtype)
    prompt = [(7 * i) % VOCAB for i in range(37)]
    with Sampler(policy, slots=12, **options).sequences(max_tokens=96, key=(3, 1)) as sequences:
        root = sequences(prompt)
        first = root.sample(13, temperature=0.8).result()
        stream = [*prompt, *first.tokens.tolist()]
        assert first.start == 37 and np.array_equal(first.logprobs, learners(policy, prompt, first.tokens, 0.8))
        forks = [root.fork(length) for length in (None, 44, 48, 50, 5)]
        samples = [fork.sample(11, temperature=1.3, top_k=20) for fork in forks]
        given = np.arange(3, 23)
        scores = [fork.score(given, temperature=0.7) for fork in forks]
        chosen = [fork.sample(5, legal=[(3, 4), (3, 5), (9,)]) for fork in forks]
        values = [fork.evaluate([1, 5, 9]) for fork in forks]
        root.append([1, 2, 3])
        more = root.sample(6)
        for length, sample, score, choice, value in zip((50, 44, 48, 50, 5), samples, scores, chosen, values):
            context = stream[:length]
            drawn = sample.result()
            assert drawn.support is None and (drawn.kept_logmass <= 0).all() and len(drawn.tokens) == 11
            assert np.array_equal(drawn.logprobs, learners(policy, context, drawn.tokens, 1.3))
            context += drawn.tokens.tolist()
            scored = score.result()
            assert scored.start == length + 11 and np.array_equal(scored.tokens, given)
            assert np.array_equal(scored.logprobs, learners(policy, context, given, 0.7))
            context += given.tolist()
            picked = choice.result()
            assert tuple(picked.tokens) in ((3, 4), (3, 5), (9,)) and picked.support is not None
            assert picked.support[0].nonzero()[0].tolist() == [3, 9]
            assert np.array_equal(picked.logprobs, learners(policy, context, picked.tokens, 1.0, picked.support))
            context += picked.tokens.tolist()
            evaluation = value.result()
            hidden = policy(torch.tensor(context), Layout(torch.tensor([0, len(context)], dtype=torch.int32)))[-1:]
            assert evaluation.value == float(policy.heads["value"](hidden))
            expected = torch.log_softmax(policy.logits(hidden)[0, [1, 5, 9]], 0)
            np.testing.assert_array_equal(evaluation.logprobs, expected.detach().numpy())
        assert np.array_equal(more.result().logprobs, learners(policy, [*stream, 1, 2, 3], more.result().tokens, 1.0))
        distinct = {tuple(sample.result().tokens.tolist()) for sample in (samples[0], samples[3])}
        assert len(distinct) == 2  # each has its own noise
        counters = sequences.counters()
        assert counters["tokens_forked"] > 0
        if options:
            assert counters["evictions"] > 0
        else:
            assert counters["tokens_recomputed"] <= 3 * len(forks) + 2 and counters["blocks_copied"] > 0  # one token for each question



def test_forks_of_requests_at_work_finished_and_gone() -> None:
    policy = make()
    gate = threading.Event()

    def answer(task: int, seed: int, actions: list[list[int]]) -> Any:
        if task == 7 and actions:
            assert gate.wait(60)
        return over() if len(actions) == 2 else ask([task, 7, 3] * 6, 9)

    world = Scripted(answer)

    async def main() -> None:
        async with AsyncSampler(Sampler(policy, slots=3), world, key=(2, 0), max_tokens=90) as rollouts:
            held = await rollouts.submit(5, hold=True)
            gone = await rollouts.submit(6)
            (whole,) = await held.result()
            await gone.result()
            stream = whole.tokens.tolist()
            assert len(stream) == 54
            with held.fork() as end, held.fork(length=20) as middle:
                first, second = end.sample(8), middle.score([1, 2, 3])
                waiting = rollouts.open([1, 2])  # until one of the three slots is free
                later = waiting.sample(3)
                assert np.array_equal((await first).logprobs, learners(policy, stream, (await first).tokens, 1.0))
                assert np.array_equal((await second).logprobs, learners(policy, stream[:20], np.array([1, 2, 3]), 1.0))
                assert not later.is_done
                held.release()
                assert np.array_equal((await later).logprobs, learners(policy, [1, 2], (await later).tokens, 1.0))
            for request, error in ((held, "no sequence 0 to fork"), (gone, "no sequence 1 to fork")):
                with pytest.raises(SequenceError, match=error):
                    await request.fork().evaluate()
            live = await rollouts.submit(7)
            await anext(live)
            with live.fork(length=18) as fork:
                gate.set()  # while its environment is at work, it cannot be forked
                drawn = await fork.sample(4)
                assert np.array_equal(drawn.logprobs, learners(policy, [7, 7, 3] * 6, drawn.tokens, 1.0))
                abandoned = asyncio.ensure_future(_wait(fork.sample(3)))
                await asyncio.sleep(0)
                abandoned.cancel()  # the sampler goes on
            crowd = [rollouts.open([1, number]) for number in range(3)]  # beside `waiting`: one too many
            unanswered = crowd[-1].evaluate()
            for sequence in reversed(crowd):
                sequence.release()
            with pytest.raises(SequenceError, match="was released"):
                await unanswered
            assert (await (await rollouts.submit(8)).result()).num_tokens == 54
            left = waiting.sample(80)
        with pytest.raises(SamplerClosed):
            await left

    async def _wait(pending: Any) -> None:
        await pending

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("on_update", ["recompute", "keep"])
def test_weights_change_under_sequences(on_update: Any) -> None:
    """Kept keys and values are copied out and shared by forks; computed again, everything is the new weights' own."""
    policy, new = make(), make(seed=1)
    before = make()
    with (sampler := Sampler(policy, slots=6, cache_tokens=112)).sequences(max_tokens=96) as sequences:
        root = sequences(list(range(20)))
        first = root.sample(10).result()
        assert sampler.update_weights(new, on_update=on_update) == 1
        forks = [root.fork() for _ in range(4)]
        drawn = [fork.sample(40).result() for fork in forks]
        again = [fork.fork(45).sample(4) for fork in forks[:1]]
        context = [*range(20), *first.tokens.tolist()]
        assert (first.version == 0).all() and np.array_equal(first.logprobs, learners(before, [*range(20)], first.tokens, 1.0))
        for sample in drawn:
            assert (sample.version == 1).all()
            assert np.array_equal(sample.logprobs, learners(new, context, sample.tokens, 1.0)) == (on_update == "recompute")
        assert len(again[0].result().tokens) == 4
        counters = sequences.counters()
        assert counters["evictions"] > 0 and (counters["swaps"] > 0) == (on_update == "keep")


def test_a_policy_without_a_cache() -> None:
    with Sampler(random_table(), slots=2).sequences(max_tokens=30, key=(1, 2)) as sequences:
        root = sequences([4])
        drawn, fork = root.sample(5).result(), root.fork()
        score = fork.score([9, 9]).result()
        fork.release()
        assert len(drawn.tokens) == 5 and score.logprobs[1] == sequences([9]).score([9]).result().logprobs[0]


def test_what_is_refused() -> None:
    policy = make()
    with pytest.raises(ValueError, match="sequences need a policy"), Sampler(None, vocab_size=5).sequences():
        pass
    with Sampler(policy, slots=2).sequences(max_tokens=20) as sequences:
        sequence = sequences([1, 2, 3])
        refused: list[tuple[Callable[[], Any], str]] = [
            (lambda: sequences([]), "tokens must be one at least"),
            (lambda: sequences([VOCAB]), "tokens must be in 0..63, got 64"),
            (lambda: sequence.fork(0), "length must be >= 1, got 0"),
            (lambda: sequence.sample(0), "max_tokens must be >= 1, got 0"),
            (lambda: sequence.sample(1, top_p=0.0), r"top_p must be in \(0, 1\]"),
            (lambda: sequence.sample(1, stop=[99]), "tokens must be in 0..63, got 99"),
            (lambda: sequence.score([]), "tokens must be one at least"),
            (lambda: sequence.evaluate([64]), r"support must be token ids \[K\] in 0..63"),
        ]
        for call, message in refused:
            with pytest.raises(ValueError, match=message):
                call()
        failing: list[tuple[Callable[[], Any], str]] = [
            (lambda: sequence.append([1] * 18), "max_tokens=20 leaves no room for 18 tokens behind 3"),
            (lambda: sequence.score([1] * 18), "max_tokens=20 leaves no room for 18 tokens behind 3"),
            (lambda: sequence.score([1], temperature=0), "temperature must be > 0 to score"),
            (lambda: sequence.sample(1, stop="a"), "a stop string needs to know what tokens say"),
            (lambda: sequence.sample(1, legal=[(70,)]), "legal token 70 is outside the vocabulary"),
        ]
        for call, message in failing:
            with pytest.raises(SequenceError, match=message):
                call().result()
        long = sequence.fork(9)
        with pytest.raises(SequenceError, match="a fork of 9 tokens was asked for, but there are 3"):
            long.evaluate().result()
        with pytest.raises(ValueError, match="slots must be at least as many as the sequences"):
            sequence.fork()
        long.release()
        assert len(sequence.fork().sample(20).result().tokens) == 17  # until there is no more room
        pending = sequence.sample(3)
    with pytest.raises(SequenceError, match="were closed"):
        pending.result()
    with pytest.raises(SequenceError, match="was released"):
        sequence.append([1])
