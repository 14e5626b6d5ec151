"""Transcripts of whole trajectories and of those that still grow."""

import numpy as np

from paradigm.environments import Arithmetic
from paradigm.sampler import Sampler
from paradigm.transcript import Transcriber, as_text, transcript


def test_a_growing_transcript_says_what_the_whole_one_says() -> None:
    world = Arithmetic()
    demonstrator = world.demonstrator(error_rate=0.5, notice_rate=0.5)
    shown = Sampler(None, vocab_size=272).collect(world, world.tasks(3, 12), group_size=1, opponents={0: demonstrator}, record_players=True)
    kinds, written = set(), {"thought", "action", "error", "correction"}
    for trajectory in shown:
        whole = transcript(trajectory, world)
        letters = [(letter, part["kind"]) for part in whole for letter in part["text"]]
        growing, parts = Transcriber(world), []
        for i in range(len(trajectory)):
            piece = slice(i, i + 1)
            parts += growing.add(trajectory.tokens[piece], trajectory.action_mask[piece], trajectory.segment[piece])
        assert "".join(part["text"] for part in parts) == "".join(part["text"] for part in whole)
        seen = [part["kind"] for part in parts]
        # what later tokens reveal about one that was written comes too late for it; nothing else may differ
        assert all(kind == final or {kind, final} <= written for kind, (_, final) in zip(seen, letters, strict=True)), trajectory
        kinds |= set(seen)
    assert {"error", "correction", "observation"} <= kinds


def test_a_characters_bytes_may_come_one_by_one_and_tokens_without_text_are_numbered() -> None:
    growing = Transcriber(object())
    tokens = np.array([*"aé".encode(), 0xE2, 300, 27], np.int32)
    parts = [part for i in range(len(tokens)) for part in growing.add(tokens[i : i + 1], np.ones(1, bool), np.full(1, 3, np.uint8))]
    assert [part["text"] for part in parts] == ["a", "", "é", "", "\ufffd<300>", "\x1b"]
    assert as_text(parts).plain == "aé\ufffd<300>·" and {part["kind"] for part in parts} == {"action"}
