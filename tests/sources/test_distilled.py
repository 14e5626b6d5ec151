"""Rollouts written down as data: what passes, what is dropped, and what is remembered about each."""

import errno
from pathlib import Path

import numpy as np
import pytest

from paradigm.sources import shards
from paradigm.sources.corpus import Corpus
from paradigm.sources.demonstrations import Demonstrations
from paradigm.sources.distilled import without_thoughts, write_distilled
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import Segment, Trajectory, TrajectoryBuffer

TOKENIZER = Tokenizer()
LETTERS = {"p": Segment.PROMPT, "t": Segment.THOUGHT, "a": Segment.ACTION, "o": Segment.OBSERVATION, "d": Segment.DOCUMENT}


def _buffer(*shapes: str, rewards: list[float] | None = None, **fields) -> TrajectoryBuffer:
    """Trajectories spelled by their segments; token ids are their places in the buffer."""
    letters = "".join(shapes)
    segment = np.array([LETTERS[letter] for letter in letters])
    n = len(letters)
    offsets = np.cumsum([0, *map(len, shapes)])
    per_token = np.zeros(n)
    if rewards is not None:
        per_token[offsets[1:] - 1] = rewards
    mask = np.isin(segment, (Segment.THOUGHT, Segment.ACTION))
    given = {"rewards": per_token, "logprobs": np.where(mask, -1.5, 0), "values": np.ones(n), "version": np.where(mask, 3, 0)} | fields
    return TrajectoryBuffer.from_arrays(np.arange(n), offsets, segment=segment, action_mask=mask, environment="arithmetic", key=(7, 2), **given)


def _spelled(buffer: TrajectoryBuffer) -> list[str]:
    names = {segment: letter for letter, segment in LETTERS.items()}
    return ["".join(names[s] for s in trajectory.segment) for trajectory in buffer]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ppttaa", "ppaa"),
        ("pptoota", "ppa"),  # a tool's answer to a thought goes with it
        ("ppaotta", "ppaoa"),  # the world's answer to an action stays
        ("otaota", "oaoa"),
        ("potta", "poa"),  # an observation after the prompt answers no thought
        ("ppa", "ppa"),
        ("ttt", ""),
        ("tooo", ""),
        ("ptoaotoao", "paoao"),
    ],
)
def test_observe_plan_act_becomes_observe_act(before: str, after: str) -> None:
    buffer = _buffer("ppa", before, "oa")
    trimmed = without_thoughts(buffer)
    assert _spelled(trimmed) == ["ppa", after, "oa"]
    kept = [i for i, letter in enumerate(before) if i + 3 in set(trimmed[1].tokens.tolist())]
    assert "".join(before[i] for i in kept) == after
    assert trimmed[2].tokens.tolist() == buffer[2].tokens.tolist()


def test_an_observation_does_not_answer_another_trajectorys_thought() -> None:
    assert _spelled(without_thoughts(_buffer("pt", "oa", "tat", "o"))) == ["p", "oa", "a", "o"]


def test_rewards_move_and_behaviour_log_probs_go() -> None:
    rewards = np.zeros(11)
    rewards[[1, 4, 5]] = [0.5, 2, 0.25]
    buffer = _buffer("ptatt", "paa", "ttt", extras={0: {"note": 1}})
    buffer.rewards[:] = rewards
    trimmed = without_thoughts(buffer)
    assert trimmed[0].rewards.tolist() == [0, 2.5] and trimmed[1].rewards.tolist() == [0.25, 0, 0]
    assert trimmed[0].logprobs.tolist() == [0, 0] and trimmed[1].logprobs.tolist() == [0, -1.5, -1.5]
    assert trimmed.values is None and trimmed[0].extras == {"note": 1} and (trimmed.key, trimmed.environment) == ((7, 2), "arithmetic")
    assert buffer[0].logprobs.tolist() == [0, -1.5, -1.5, -1.5, -1.5]  # the original is as it was
    untouched = _buffer("pa")
    assert without_thoughts(untouched) is untouched


def test_only_what_passes_is_written_with_its_provenance(tmp_path: Path) -> None:
    buffer = _buffer("pa", "pa", "pa", "pp", "pta", rewards=[1, 0.2, 1, 1, 1], failed=np.array([0, 0, 1, 0, 0]), index=np.arange(5) + 40)
    corpus = write_distilled(buffer, tmp_path / "c", TOKENIZER, min_reward=0.5, provenance={"run": "quickstart"})
    back = corpus.buffer(np.arange(len(corpus)))
    assert _spelled(back) == ["pa", "pta"]
    assert back[1].extras["provenance"] == {
        "environment": "arithmetic", "key": [7, 2], "index": 44, "seat": 0, "policy_version": [3, 3], "reward": 1.0, "stop_reason": "none",
        "temperature": 1.0,
    }  # fmt: skip
    assert back[1].action_mask.tolist() == [False, True, True] and back[1].version.tolist() == [0, 3, 3]
    notes = corpus.manifest["provenance"]
    assert (notes["num_offered"], notes["num_kept"], notes["run"], corpus.kind) == (5, 2, "quickstart", "trajectories")
    with pytest.raises(ValueError, match="got none of 5"):
        write_distilled(buffer, tmp_path / "d", TOKENIZER, min_reward=2)
    assert not (tmp_path / "d").exists()


def test_a_verdict_sees_the_rollout_as_it_was_sampled(tmp_path: Path) -> None:
    def thought_about(trajectory: Trajectory) -> bool:
        return bool((trajectory.segment == Segment.THOUGHT).any())

    corpus = write_distilled(_buffer("pta", "pa", "ptoa"), tmp_path / "c", TOKENIZER, accept=thought_about, drop_thoughts=True)
    assert _spelled(corpus.buffer([0, 1])) == ["pa", "pa"]
    # a trajectory that was all thought has nothing left to teach
    with pytest.raises(ValueError, match="got none of 1"):
        write_distilled(_buffer("ptt"), tmp_path / "d", TOKENIZER, drop_thoughts=True)


def test_duplicates_and_too_many_answers_to_a_task_are_dropped(tmp_path: Path) -> None:
    rows = TrajectoryBuffer.from_arrays(
        [1, 2, 1, 2, 1, 3, 1, 4, 5, 2], [0, 2, 4, 6, 8, 10], action_mask=[False, True] * 5, task=[0, 0, 0, 0, 1], tasks=[b"sum", b"difference"]
    )
    def tokens(corpus: Corpus) -> list[list[int]]:
        return [t.tokens.tolist() for t in corpus.buffer(np.arange(len(corpus)))]

    assert tokens(write_distilled([rows, rows], tmp_path / "a", TOKENIZER, deduplicate=True)) == [[1, 2], [1, 3], [1, 4], [5, 2]]
    assert tokens(write_distilled([rows, rows], tmp_path / "b", TOKENIZER, max_per_task=2)) == [[1, 2], [1, 2], [5, 2], [5, 2]]
    both = write_distilled([rows, rows], tmp_path / "c", TOKENIZER, deduplicate=True, max_per_task=2)
    assert tokens(both) == [[1, 2], [1, 3], [5, 2]]
    assert [t.task for t in both.buffer([0, 2])] == [b"sum", b"difference"]
    rows.tasks = []  # without tasks, the prompt tells them apart
    assert tokens(write_distilled(rows, tmp_path / "d", TOKENIZER, max_per_task=1)) == [[1, 2], [5, 2]]
    with pytest.raises(ValueError, match="max_per_task must be >= 1, got 0"):
        write_distilled(rows, tmp_path / "e", TOKENIZER, max_per_task=0)


def test_a_full_disk_keeps_the_old_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_distilled(_buffer("pa"), tmp_path / "c", TOKENIZER)

    def full(file, part) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "_write_part", full)
    with pytest.raises(OSError, match="No space left"):
        write_distilled(_buffer("ptta", "pta"), tmp_path / "c", TOKENIZER, overwrite=True)
    monkeypatch.undo()
    assert _spelled(Corpus.open(tmp_path / "c").buffer([0])) == ["pa"] and len(list((tmp_path / "c").iterdir())) == 2


def test_extras_that_are_not_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="extras of trajectory 0 must be JSON"):
        write_distilled(_buffer("pa", extras={0: {"verdict": object()}}), tmp_path / "c", TOKENIZER)


def test_many_buffers_stream_into_many_shards_and_open_as_demonstrations(tmp_path: Path) -> None:
    buffers = (_buffer("pta", "ptoa", rewards=[1, 0], version=np.full(7, step)) for step in range(20))
    corpus = write_distilled(buffers, tmp_path / "c", TOKENIZER, min_reward=1, drop_thoughts=True, shard_tokens=6)
    assert len(corpus.shards) > 3
    demonstrations = Demonstrations.open(tmp_path / "c")
    assert len(demonstrations) == 20
    assert sorted(t.extras["provenance"]["policy_version"][0] for t in demonstrations.stream(0).take_count(20)) == list(range(20))
