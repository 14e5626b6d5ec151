"""Grammars: actions are texts of them, the learner scores over the same masks, and what goes wrong costs its own trajectory."""

import asyncio
import json
import re
from typing import Any

import numpy as np
import pytest
import torch

from paradigm.async_sampler import AsyncSampler, RequestCancelled
from paradigm.batch import PackedBatch
from paradigm.grammar import Grammar
from paradigm.policy import Policy, PolicyConfig
from paradigm.sampler import Sampler
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import TrajectoryBuffer
from tests.sampler_cases import Scripted, ask, assert_same, legal_tokens, one_thread, over, random_table  # noqa: F401  # a fixture

TOKENIZER = Tokenizer()
STOP = TOKENIZER.eos_id
SCHEMA = {
    "type": "object", "properties": {"name": {"enum": ["ko", "atari"]}, "sizes": {"type": "array", "items": {"enum": [9, 13, 19]}, "maxItems": 2}},
    "required": ["name", "sizes"], "additionalProperties": False,
}  # fmt: skip
EBNF = """
start: term ("+" term)*
term: /[0-9]/ | "(" start ")"
"""


def make(dtype: str = "float32") -> Policy:
    config = PolicyConfig(vocab_size=TOKENIZER.vocab_size, hidden_size=16, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=16,
                          intermediate_size=32, initializer_range=0.3, dtype=dtype)  # fmt: skip
    return Policy(config)


def talk(turns: int = 2, most: int = 120, **rules: Any) -> Scripted:
    def answer(task: int, seed: int, actions: list[list[int]]) -> Any:
        return over() if len(actions) == turns else ask([65 + task, 66, *([10] * len(actions))], most, stop=[STOP], **rules)

    return Scripted(answer)


def said(buffer: TrajectoryBuffer, row: int) -> list[bytes]:
    """Its actions, less what stopped them."""
    part = slice(*buffer.offsets[row : row + 2])
    tokens, decision = buffer.tokens[part], buffer.decision[part]
    actions = [tokens[decision == d] for d in range(decision.max() + 1)]
    assert all(action[-1] == STOP and STOP not in action[:-1] for action in actions)
    return [bytes(action[:-1].tolist()) for action in actions]


def differences(policy: Policy, buffer: TrajectoryBuffer) -> list[float]:
    batches = PackedBatch.pack(buffer, max_tokens=700)
    return [float((policy.log_probs(batch) - batch.streams["behaviour_logprob"]).abs().max()) for batch in batches]


def is_sum(text: bytes) -> bool:
    while (shorter := re.sub(rb"\(\d(\+\d)*\)", b"1", text)) != text:
        text = shorter
    return re.fullmatch(rb"\d(\+\d)*", text) is not None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["json_schema", "regex", "ebnf"])
def test_actions_are_texts_of_the_grammar_and_log_probs_the_learners(kind: str, dtype: str) -> None:
    pytest.importorskip("llguidance")
    grammar = {"json_schema": Grammar.json_schema(SCHEMA), "regex": Grammar.regex(r"([0-9][0-9]?:)+[a-c]*(é|ö)"), "ebnf": Grammar.ebnf(EBNF)}[kind]
    policy, buffers = make(dtype), []
    for options in ({"slots": 64}, {"slots": 3, "max_step_tokens": 7, "cache_tokens": 512}):
        sampler = Sampler(policy, tokenizer=TOKENIZER, **options)
        buffers.append(sampler.collect(talk(most=240), [0, 1], group_size=8, key=(2, 1), max_tokens=500, grammar=grammar))
        assert differences(policy, buffers[-1]) and max(differences(policy, buffers[-1])) == 0.0
    assert_same(*buffers)
    buffer, num_whole = buffers[0], 0
    legal = legal_tokens(buffer, TOKENIZER.vocab_size)
    acts = buffer.action_mask
    assert legal[np.flatnonzero(acts), buffer.tokens[acts]].all() and (buffer.support[acts] >= 0).all() and (buffer.support[~acts] < 0).all()
    assert (legal[acts].sum(1) > 1).any()
    for row in range(len(buffer)):
        part = slice(*buffer.offsets[row : row + 2])
        if buffer.tokens[part][acts[part]][-1] != STOP or (np.bincount(buffer.decision[part][acts[part]]) >= 240).any():
            continue  # an action was cut short: the grammar knows no bound
        for text in said(buffer, row):
            num_whole += 1
            if kind == "json_schema":
                value = json.loads(text)
                assert set(value) == {"name", "sizes"} and value["name"] in ("ko", "atari") and set(value["sizes"]) <= {9, 13, 19}
            elif kind == "regex":
                assert re.fullmatch(r"([0-9][0-9]?:)+[a-c]*(é|ö)", text.decode())
            else:
                assert is_sum(text)
    assert num_whole >= 8


class Even:
    """Tokens 2 and 4 in any order, then 6, from which nothing follows; after 8, not even the end."""

    def __init__(self) -> None:
        self.last = 0

    def begin(self) -> "Even":
        return Even()

    def legal(self) -> tuple[np.ndarray, bool]:
        mask = np.zeros(64, bool)
        mask[{6: [], 8: []}.get(self.last, [2, 4, 6, 8])] = True
        if self.last == 4 and mask[2] and self.breaks:
            raise LookupError("lost the thread")
        return np.packbits(mask, bitorder="little"), self.last == 6

    def read(self, token: int) -> None:
        self.last = token

    breaks = False


class Fragile(Even):
    breaks = True

    def begin(self) -> "Even":
        return Fragile()


def test_a_grammar_of_ones_own_and_its_dead_ends() -> None:
    sampler = Sampler(random_table(), slots=7)
    world = Scripted(lambda task, seed, actions: over() if len(actions) == 2 else ask([1, 3], 500, stop=[]))
    buffer = sampler.collect(world, list(range(40)), group_size=1, max_tokens=2000, grammar=Even(), forced={0: [(0, [2, 4, 2])], 1: [(0, [3])]})
    assert sampler.stats is not None
    reasons = sampler.stats.failure_reasons
    assert reasons.keys() == {"dead_end", "illegal"} and reasons["illegal"] == 1 and 5 < reasons["dead_end"] < 39
    for trajectory in buffer:
        tokens = trajectory.tokens[2:].tolist()
        if trajectory.failed:
            expected = "does not allow token 3 after 0 tokens" if trajectory.index == 1 else "allows no token after"
            assert expected in trajectory.extras["failure"]
        else:  # an action is over where nothing more may follow, without a token that stops it
            first, second = tokens[: tokens.index(6) + 1], tokens[tokens.index(6) + 1 :]
            assert second[:2] == [1, 3] and set(first) | set(second[2:]) <= {2, 4, 6} and second.index(6) == len(second) - 1
    assert buffer[0].tokens[2:5].tolist() == [2, 4, 2] and not buffer[0].action_mask[2:5].any()
    sampler.collect(world, list(range(10)), group_size=1, max_tokens=2000, grammar=Fragile())
    assert sampler.stats.failure_reasons["grammar"] > 1 and sampler.stats.failure_reasons.keys() <= {"grammar", "dead_end"}


def test_the_worlds_own_list_comes_first() -> None:
    world = Scripted(lambda task, seed, actions: over() if actions else ask([1], 5, legal=[(7, 9), (7, 11)]))
    buffer = Sampler(random_table(), slots=4).collect(world, [0], group_size=4, max_tokens=30, grammar=Even())
    assert not buffer.failed.any() and {tuple(t.tokens[1:]) for t in buffer} <= {(7, 9), (7, 11)}


def test_a_request_has_its_own_grammar_and_is_cancelled_like_any_other() -> None:
    pytest.importorskip("llguidance")
    policy = make()

    async def main() -> None:
        async with AsyncSampler(Sampler(policy, slots=4, tokenizer=TOKENIZER), talk(1, most=400), key=(1, 1), max_tokens=450) as rollouts:
            digits = await rollouts.submit(0, grammar=Grammar.regex(r"[0-9]{300}"))
            endless = await rollouts.submit(1, grammar=Grammar.regex(r"[ab]{300,}"))
            await endless.__anext__()
            assert endless.cancel()
            with pytest.raises(RequestCancelled):
                await endless.result()
            (text,) = said(await digits.result(), 0)
            assert len(text) == 300 and text.isdigit()
            free = await rollouts.submit(2)
            assert (await free.result()).support.max() < 0

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_sequence_samples_by_a_grammar() -> None:
    pytest.importorskip("llguidance")
    with Sampler(make(), slots=2, tokenizer=TOKENIZER).sequences(max_tokens=60) as sequences:
        sequence = sequences(TOKENIZER.encode("n = "))
        drawn = sequence.sample(50, stop=[STOP], grammar=Grammar.regex("[a-z]{9}")).result()
        assert re.fullmatch(rb"[a-z]{9}", bytes(drawn.tokens[:-1].tolist())) and drawn.tokens[-1] == STOP and drawn.logprobs[-1] == 0.0
        assert drawn.support is not None and (drawn.support.sum(1) == [26] * 9 + [1]).all()


def test_wrong_arguments() -> None:
    policy, world = make(), talk()
    with pytest.raises(ValueError, match="grammar needs a tokenizer"):
        Sampler(policy).collect(world, [0], max_tokens=50, grammar=Grammar.regex("a"))
    with pytest.raises(ValueError, match="grammar must be a Grammar or have a method begin, got str"):
        Sampler(policy).collect(world, [0], max_tokens=50, grammar="a+")  # type: ignore[arg-type]
    pytest.importorskip("llguidance")
    sampler = Sampler(policy, tokenizer=TOKENIZER)
    with pytest.raises(ValueError, match=r"(?s)grammar must be a regex that llguidance reads: .*unclosed group"):
        sampler.collect(world, [0], max_tokens=50, grammar=Grammar.regex("("))
    with pytest.raises(ValueError, match="grammar must be a json_schema that llguidance reads"):
        sampler.collect(world, [0], max_tokens=50, grammar=Grammar.json_schema("{"))
    with pytest.raises(ValueError, match=r"grammar must be a ebnf that llguidance reads.*unknown name"):
        sampler.collect(world, [0], max_tokens=50, grammar=Grammar.ebnf("start: nobody"))


def test_a_head_wider_than_the_tokenizer_draws_no_token_that_says_nothing() -> None:
    pytest.importorskip("llguidance")
    wide = Policy(PolicyConfig(vocab_size=TOKENIZER.vocab_size + 37, hidden_size=16, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=16,
                               intermediate_size=32))  # fmt: skip
    buffer = Sampler(wide, tokenizer=TOKENIZER).collect(talk(1), [0], group_size=4, max_tokens=60, grammar=Grammar.regex("(a|b|\x00)+"))
    assert set(buffer.tokens[buffer.action_mask]) <= {97, 98, 0, STOP} and not torch.isnan(torch.from_numpy(buffer.logprobs)).any()
