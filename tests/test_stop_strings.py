"""Stop strings: found however tokens cut them, for bytes and learned vocabularies, and ending just there whatever else is at work."""

from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import decoders, models, normalizers

from paradigm.environments import from_verifier
from paradigm.environments.protocol import Observation, Step
from paradigm.sampler import Sampler
from paradigm.token_bytes import token_bytes
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import TrajectoryBuffer
from tests.sampler_cases import Scripted, TableLookup, ask, assert_same, one_thread, over  # noqa: F401  # a fixture

LENGTH = 60
TEXTS = ["the cat sat on the mat and the hat", "a man, a plan, a canal: panama", "éàü — naïve café", "import this; import that"] * 5


def learned() -> Tokenizer:
    return Tokenizer.train_bpe(TEXTS, 320)


def babbler(tokenizer: Tokenizer, seed: int = 0) -> TableLookup:
    """Says its vocabulary at random, special tokens too."""
    size = tokenizer.vocab_size
    return TableLookup(torch.randn(size, size, generator=torch.Generator().manual_seed(seed)))


def one_turn(**fields: Any) -> Scripted:
    return Scripted(lambda task, seed, actions: over((1.0,), Observation([1, 2])) if actions else ask([task, 5], LENGTH, **fields))


def first_end(tokens: list[int], said: list[bytes], stops: list[bytes]) -> int | None:
    """How many of the tokens it takes until one of the texts has been said, special tokens apart."""
    text = b""
    for count, token in enumerate(tokens, start=1):
        text = text + said[token] if said[token] else b""
        if any(stop in text for stop in stops):
            return count
    return None


@pytest.mark.parametrize("tokenizer", [Tokenizer(), learned()], ids=["bytes", "learned"])
def test_a_trajectory_ends_with_the_token_that_completes_a_stop_string(tokenizer: Tokenizer) -> None:
    policy, said, tasks = babbler(tokenizer), tokenizer.token_bytes(), list(range(8))
    plain = Sampler(policy, slots=64).collect(one_turn(), tasks, group_size=4, key=(2, 2))
    streams = [t.tokens[2 : 2 + LENGTH].tolist() for t in plain]
    # texts that trajectories say, from the last byte of one token over whole ones to the first byte of another
    stops = [b"nobody says so long a text"]
    for stream in streams[::5]:
        inside = next(i for i in range(20, 50) if all(said[token] for token in stream[i : i + 3]))
        stops.append(said[stream[inside]][-1:] + said[stream[inside + 1]] + said[stream[inside + 2]][:1])
    expected = [first_end(stream, said, stops) for stream in streams]
    assert sum(end is not None for end in expected) >= 7 and None in expected
    buffers = []
    for slots, max_step_tokens in ((1, 2048), (5, 2048), (64, 7)):
        sampler = Sampler(policy, slots=slots, tokenizer=tokenizer, max_step_tokens=max_step_tokens)
        buffers.append(sampler.collect(one_turn(), tasks, group_size=4, key=(2, 2), stop=stops))
    for buffer in buffers[1:]:
        assert_same(buffers[0], buffer)
    for trajectory, whole, end in zip(buffers[0], plain, expected):
        kept = len(whole) if end is None else 2 + end
        assert np.array_equal(trajectory.tokens, whole.tokens[:kept]) and np.array_equal(trajectory.logprobs, whole.logprobs[:kept])
        # the world judged the action, and what it said behind it is left out
        assert trajectory.reward == 1 and trajectory.stop_reason == "terminated"


def test_a_stop_in_the_first_of_several_turns_ends_the_episode() -> None:
    def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
        return over() if len(actions) == 3 else ask([9], 4, rewards=(float(10 * len(actions)),))

    tokenizer = Tokenizer()
    after_nine = torch.zeros(272, 272)
    for token, following in ((9, 97), (97, 98), (98, 99), (99, 100)):
        after_nine[token, following] = 50.0
    sampler = Sampler(TableLookup(after_nine), tokenizer=tokenizer)
    cases: list[tuple[Any, int, str, int]] = [
        ("bc", 3, "stop", 10), (["x", b"a"], 1, "stop", 10), ([99], 3, "stop", 10),
        ("dab", 14, "terminated", 31),  # "d", an observation, "ab": a text is found within one action alone
    ]  # fmt: skip
    for stop, count, reason, reward in cases:
        (trajectory,) = sampler.collect(Scripted(answer), [0], group_size=1, stop=stop)
        assert len(trajectory) == 1 + count and trajectory.reward == reward, stop
        assert trajectory.stop_reason == reason and trajectory.truncated == (reason == "stop")
    with pytest.raises(ValueError, match="a stop string must not be empty"):
        sampler.collect(Scripted(answer), [0], group_size=1, stop=[""])


def test_a_tool_call_is_what_stands_before_its_delimiter() -> None:
    """A calculator that is called in the middle of a text, by a delimiter that no token is."""
    tokenizer = learned()
    call = [*tokenizer.encode("the cat <sum>"), *tokenizer.encode("12+3"), *tokenizer.encode("</su"), *tokenizer.encode("m>")]
    heard: list[str] = []

    def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
        if not actions:
            return ask(tokenizer.encode("q"), 40, stop=[tokenizer.end_id, "</sum>"])
        heard.append(tokenizer.decode(actions[-1]))
        text = heard[-1]
        if text.endswith("</sum>"):
            left, right = text.removesuffix("</sum>").split("<sum>")[1].split("+")
            return ask(tokenizer.encode(str(int(left) + int(right))), 40, stop=[tokenizer.end_id, b"</sum>"])
        return over()

    # a policy that says the call, and then, behind the answer, its end
    forced = {0: [(0, call), (len(call), [*tokenizer.encode("right"), tokenizer.end_id])]}
    (trajectory,) = Sampler(babbler(tokenizer), tokenizer=tokenizer).collect(Scripted(answer), [0], group_size=1, forced=forced)
    assert not trajectory.failed, trajectory.extras
    assert tokenizer.decode(trajectory.tokens) == "qthe cat <sum>12+3</sum>15right<|end|>"
    assert heard == ["the cat <sum>12+3</sum>", "right<|end|>"]


def test_verifiers_get_the_response_up_to_its_stop_string() -> None:
    seen: list[str] = []

    def verify(prompt: str, response: str) -> float:
        seen.append(response)
        return 1.0

    world = from_verifier(["ask"], verify, stop=[10, "\n\nQ", "END"], max_action_tokens=40)
    forced = {0: [(0, list(b"good\n"))], 1: [(0, list(b"fine END"))], 2: [(0, list(b"none of these, and so on until the limit"))]}
    buffer = Sampler(babbler(Tokenizer()), tokenizer=Tokenizer()).collect(world, [0], group_size=3, forced=forced)
    assert seen.sort() is None and seen == ["fine ", "good", "none of these, and so on until the limit"]
    assert buffer.lengths.tolist() == [3 + 5, 3 + 8, 3 + 40] and (buffer.reward == 1).all()


def test_without_a_tokenizer_a_text_cannot_be_found() -> None:
    policy = babbler(Tokenizer())
    with pytest.raises(ValueError, match="a stop string needs to know what tokens say: give the sampler its tokenizer"):
        Sampler(policy).collect(one_turn(), [1], stop="a")
    (trajectory,) = Sampler(policy).collect(one_turn(stop=["a"]), [1], group_size=1)
    assert trajectory.failed and "give the sampler its tokenizer" in trajectory.extras["failure"]
    (trajectory,) = Sampler(policy).collect(one_turn(), [1], group_size=1, stop=list(range(272)))  # ids need none
    assert len(trajectory) == 3 and trajectory.reward == 1


def test_opponents_are_shown_stop_strings_and_do_not_stop_the_episode() -> None:
    shown: list[Any] = []

    def player(observation: Observation, seed: int) -> list[int]:
        shown.append(observation.stop)
        return [97, 98]

    def answer(task: int, seed: int, actions: list[list[int]]) -> Step:
        return over((0.0, 0.0)) if len(actions) == 2 else ask([1], 3, (0.0, 0.0), seat=1 - len(actions), stop=[7, "zz"])

    sampler = Sampler(babbler(Tokenizer()), tokenizer=Tokenizer())
    buffer = sampler.collect(Scripted(answer, 2), [0], group_size=1, opponents={1: player}, record_players=True, stop="ab")
    assert shown == [[7, b"zz"]] and buffer[1].tokens.tolist() == [1, 97, 98] and buffer[0].action_mask.any()


def test_what_tokens_say() -> None:
    for tokenizer in (Tokenizer(), learned()):
        said = tokenizer.token_bytes()
        assert len(said) == tokenizer.vocab_size and not any(said[number] for number in tokenizer.special_ids.values())
        for text in [*TEXTS, "�ot in the texts: 漢字", "\x00\n"]:
            assert b"".join(said[token] for token in tokenizer.encode(text)) == text.encode()
    pieces = {"<unk>": 0, "▁": 1, "a": 2, "▁a": 3, **{f"<0x{byte:02X}>": 4 + byte for byte in range(256)}}
    pipeline = tokenizers.Tokenizer(models.BPE(vocab=pieces, merges=[("▁", "a")], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    pipeline.normalizer = normalizers.Replace(" ", "▁")
    pipeline.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    pipeline.add_special_tokens(["<unk>", "<s>"])
    said = token_bytes(pipeline.to_str(), pipeline.get_vocab_size())
    text = "a a é"
    assert b"".join(said[token] for token in pipeline.encode(text).ids) == text.encode() and said[0] == said[-1] == b""
    pipeline.decoder = decoders.WordPiece()
    with pytest.raises(ValueError, match=r"byte-level tokenizer or one of SentencePiece's form, got the decoder \['WordPiece'\]"):
        token_bytes(pipeline.to_str(), 300)


def test_stops_are_read_from_lists_texts_and_arrays() -> None:
    def last(stop: Any) -> TrajectoryBuffer:
        return Sampler(babbler(Tokenizer()), tokenizer=Tokenizer()).collect(one_turn(stop=stop), [1], group_size=1)

    whole = last(None).tokens[2 : 2 + LENGTH]
    one = int(whole[10])
    end = whole.tolist().index(one) + 1
    for stop in ([one], (one,), np.array([one]), [bytes([one])], bytes([one])):
        if one < 256 or not isinstance(stop, bytes):
            assert np.array_equal(last(stop).tokens[2 : 2 + end], whole[:end]) and last(stop).tokens[2 + end :].tolist() == [1, 2], stop
    (failed,) = last([1.5])
    assert failed.failed and "stop must be an integer, got float" in failed.extras["failure"]
