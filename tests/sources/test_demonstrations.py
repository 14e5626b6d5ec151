"""Demonstrations: masks, filters, and streams that resume exactly."""

import json
from pathlib import Path

import numpy as np
import pytest

from paradigm.sources.corpus import Corpus, write_corpus
from paradigm.sources.demonstrations import Demonstrations, DemonstrationStream
from paradigm.sources.stream import CorpusStream, MixtureStream
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import Segment, Trajectory, TrajectoryBuffer

TOKENIZER = Tokenizer()
CHAT = {
    "messages": [
        {"role": "system", "content": "Add."},
        {"role": "user", "content": "2+3"},
        {"role": "assistant", "content": "5"},
        {"role": "user", "content": "4+4"},
        {"role": "assistant", "content": "8"},
    ]
}


def _jsonl(path: Path, records: list) -> Path:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records))
    return path


def _rollouts(count: int) -> TrajectoryBuffer:
    lengths = [2 + i % 11 for i in range(count)]
    n = sum(lengths)
    ends = np.cumsum(lengths) - 1
    rewards = np.zeros(n)
    rewards[ends] = [i % 3 == 0 for i in range(count)]
    return TrajectoryBuffer.from_arrays(
        np.arange(n) % 250, np.cumsum([0, *lengths]), action_mask=np.arange(n) % 2 == 0, rewards=rewards, tasks=["t"], task=0, group=np.arange(count)
    )


def test_chats_become_masked_trajectories(tmp_path: Path) -> None:
    demonstrations = Demonstrations.from_chat(_jsonl(tmp_path / "d.jsonl", [CHAT, {"messages": CHAT["messages"][:3]}]), TOKENIZER)
    assert len(demonstrations) == 2
    one = demonstrations[0]
    asked = "<|bos|><|system|>Add.<|end|><|user|>2+3<|end|>"
    assert TOKENIZER.decode(one.tokens) == asked + "<|assistant|>5<|end|><|user|>4+4<|end|><|assistant|>8<|end|>"
    assert TOKENIZER.decode(one.tokens[one.action_mask]) == "5<|end|>8<|end|>"
    by_segment = {s: TOKENIZER.decode(one.tokens[one.segment == s]) for s in np.unique(one.segment)}
    assert by_segment == {
        Segment.PROMPT: "<|bos|><|system|>Add.<|end|><|user|>2+3<|end|><|assistant|>",
        Segment.ACTION: "5<|end|>8<|end|>",
        Segment.OBSERVATION: "<|user|>4+4<|end|><|assistant|>",
    }
    assert one.decision[one.action_mask].tolist() == [0, 0, 1, 1] and set(one.decision[~one.action_mask]) == {-1}


def test_completions_are_tokenised_apart_from_their_prompts(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train_bpe(["2+3=5 abab abab abab"] * 9, 275)
    path = _jsonl(tmp_path / "d.jsonl", [{"question": "ab", "answer": "ab"}])
    one = Demonstrations.from_completions(path, tokenizer, prompt="question", completion="answer")[0]
    ab = tokenizer.encode("ab").tolist()
    assert one.tokens.tolist() == [tokenizer.bos_id, *ab, *ab, tokenizer.eos_id]
    assert one.action_mask.tolist() == [False] * (1 + len(ab)) + [True] * (len(ab) + 1)
    bare = Demonstrations.from_completions(path, tokenizer, prompt="question", completion="answer", bos=False, eos=False)[0]
    assert bare.tokens.tolist() == [*ab, *ab]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"msgs": []}, r"d\.jsonl:2: field 'messages' must be a list of messages, got NoneType"),
        ({"messages": []}, r"d\.jsonl:2: messages must hold at least one"),
        ({"messages": [{"role": "robot", "content": "x"}]}, r"d\.jsonl:2: messages\[0\]: role must be one of"),
        ({"messages": [{"role": "user", "content": "x"}]}, r"d\.jsonl:2: a demonstration must have at least one action"),
        ("{", r"d\.jsonl:2: not JSON"),
    ],
)
def test_bad_chats_are_named_by_line(tmp_path: Path, record: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Demonstrations.from_chat(_jsonl(tmp_path / "d.jsonl", [CHAT, record]), TOKENIZER)


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be a JSONL file"):
        Demonstrations.from_chat(tmp_path / "nowhere.jsonl", TOKENIZER)
    with pytest.raises(ValueError, match="at least one demonstration, got none"):
        Demonstrations.from_chat(_jsonl(tmp_path / "d.jsonl", []), TOKENIZER)
    with pytest.raises(ValueError, match=r"d\.jsonl:1: field 'completion' must be a string"):
        Demonstrations.from_completions(_jsonl(tmp_path / "d.jsonl", [{"prompt": "x"}]), TOKENIZER)


def test_long_demonstrations_are_left_out_never_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [{"prompt": "p", "completion": "c" * n} for n in (1, 50, 2)]
    path = _jsonl(tmp_path / "d.jsonl", records)
    demonstrations = Demonstrations.from_completions(path, TOKENIZER, max_tokens=10)
    assert demonstrations.lengths(np.arange(2)).tolist() == [4, 5]
    assert "left out 1 demonstrations of more than 10 tokens" in caplog.text
    with pytest.raises(ValueError, match="1 were too long"):
        Demonstrations.from_completions(_jsonl(path, records[1:2]), TOKENIZER, max_tokens=10)


def _sets(tmp_path: Path, count: int) -> list[Demonstrations]:
    """The same demonstrations in memory, in a file, and in shards on disk."""
    rollouts = _rollouts(count)
    memory = Demonstrations(rollouts)
    memory.save(tmp_path / "shards", TOKENIZER, shard_tokens=150)
    rollouts.save(tmp_path / "file.safetensors")
    return [memory, Demonstrations.open(tmp_path / "file.safetensors"), Demonstrations.open(tmp_path / "shards")]


def test_memory_file_and_shards_hold_the_same(tmp_path: Path) -> None:
    sets = _sets(tmp_path, 60)
    assert len(Corpus.open(tmp_path / "shards").shards) > 2
    for other in sets[1:]:
        assert len(other) == 60 and other.num_tokens == sets[0].num_tokens
        for a, b in zip(sets[0].buffer([41, 3, 3]), other.buffer([41, 3, 3])):
            assert a.tokens.tolist() == b.tokens.tolist() and a.action_mask.tolist() == b.action_mask.tolist()
            assert (a.reward, a.task) == (b.reward, b.task)


def test_filters_keep_what_the_verdict_accepts(tmp_path: Path) -> None:
    def good(trajectory: Trajectory) -> bool:
        return trajectory.reward > 0.5

    for demonstrations in _sets(tmp_path, 60):
        kept = demonstrations.filtered(good)
        assert len(kept) == 20 and all(trajectory.reward == 1 for trajectory in kept.buffer())
        assert kept.fingerprint != demonstrations.fingerprint
        drawn = kept.stream(0).take_count(40)
        assert (drawn.reward == 1).all()
        assert len(kept.filtered(lambda trajectory: len(trajectory) > 5)) < 20


@pytest.mark.parametrize("where", [0, 1, 2], ids=["memory", "file", "shards"])
def test_resumed_streams_go_on(tmp_path: Path, where: int) -> None:
    demonstrations = _sets(tmp_path, 700)[where]
    for consumed in (0, 400, 700, 1500):
        stream = demonstrations.stream(seed=4)
        for _ in range(consumed):
            stream.draw()
        stream.next_length()
        state = json.loads(json.dumps(stream.state_dict()))
        expected = [stream.draw() for _ in range(1000)]
        resumed = demonstrations.stream(seed=4)
        resumed.load_state_dict(state)
        assert [resumed.draw() for _ in range(1000)] == expected
    epoch = [draw.draw() for draw in [demonstrations.stream(seed=4)] for _ in range(700)]
    assert sorted(epoch) == list(range(700)) and epoch != sorted(epoch)


def test_take_fits_and_renumbers(tmp_path: Path) -> None:
    memory, _, on_disk = _sets(tmp_path, 60)
    stream, twin = on_disk.stream(seed=2), memory.stream(seed=2)
    taken = stream.take(64)
    assert taken.num_tokens <= 64 < taken.num_tokens + stream.next_length()
    assert taken.index.tolist() == list(range(len(taken)))
    assert [t.tokens.tolist() for t in twin.take(64)] == [t.tokens.tolist() for t in taken]
    with pytest.raises(ValueError, match="num_tokens must be at least"):
        stream.take(1)


def test_wrong_states_and_empty_sets_are_refused() -> None:
    demonstrations = Demonstrations(_rollouts(10))
    state = demonstrations.stream(seed=0).state_dict()
    with pytest.raises(ValueError, match="seed 1, got 0"):
        demonstrations.stream(seed=1).load_state_dict(state)
    with pytest.raises(ValueError, match="demonstrations"):
        Demonstrations(_rollouts(9)).stream(seed=0).load_state_dict(state)
    with pytest.raises(ValueError, match="at least one"):
        DemonstrationStream(demonstrations.filtered(lambda trajectory: False), seed=0)


def test_demonstrations_mix_with_documents(tmp_path: Path) -> None:
    corpus = write_corpus(["text " * 5] * 20, tmp_path / "c", TOKENIZER)
    streams = {"text": (CorpusStream(corpus, seed=0), 1.0), "worked": (Demonstrations(_rollouts(30)).stream(seed=0), 1.0)}
    buffer = MixtureStream(streams).take(400)
    assert {t.task for t in buffer} == {"text", "t"}
    assert all(t.action_mask.any() == (t.task == "t") for t in buffer)
