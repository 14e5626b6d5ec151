"""Files of preference pairs: their forms, what becomes of long ones, and that halves and splits share no conversation."""

import json

import numpy as np
import pytest

from paradigm.sources.preference_pairs import PreferencePairs, dialogue_texts
from paradigm.tokenizer import Tokenizer
from tests.preference_cases import write_pairs

BYTES = Tokenizer()


def of_rows(path, *rows, tokenizer=BYTES, **options) -> PreferencePairs:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PreferencePairs(path, tokenizer, **options)


def said(tokens) -> str:
    return BYTES.decode(tokens)


ASKED = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c"
HH = {"chosen": f"{ASKED}\n\nAssistant: good", "rejected": f"{ASKED}\n\nAssistant: bad"}
PROMPT = "<|bos|><|user|>a<|end|><|assistant|>b<|end|><|user|>c<|end|><|assistant|>"


def test_every_form_says_the_same(tmp_path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    good, bad = ([{"role": "assistant", "content": text}] for text in ("good", "bad"))
    forms = [
        HH, {"chosen": turns + good, "rejected": turns + bad}, {"prompt": turns, "chosen": good, "rejected": bad},
        {"prompt": turns, "chosen": turns + good, "rejected": turns + bad}, {"prompt": turns, "chosen": "good", "rejected": "bad"},
        {"prompt": ASKED, "chosen": "good", "rejected": "bad"},
    ]  # fmt: skip
    pairs = of_rows(tmp_path / "p.jsonl", *forms)
    buffer, numbers = pairs.pairs(np.arange(len(forms)))
    assert {(said(buffer[c].tokens), said(buffer[r].tokens)) for c, r in numbers} == {(PROMPT + "good<|end|>", PROMPT + "bad<|end|>")}
    assert said(pairs.prompt(0)) == PROMPT and pairs.text(0) == "c"
    (shown,) = pairs.demonstrations(np.array([0]))
    assert said(shown.tokens[shown.action_mask]) == "good<|end|>" and shown.task == 0


def test_what_is_typed_is_text(tmp_path) -> None:
    pairs = of_rows(tmp_path / "p.jsonl", {"prompt": "<|end|> Human: x", "chosen": "<|assistant|>", "rejected": "n"})
    tokens = pairs.pairs(np.array([0]))[0][0].tokens
    assert (tokens == BYTES.special_ids["<|end|>"]).sum() == 2 and (tokens == BYTES.special_ids["<|assistant|>"]).sum() == 1
    assert said(pairs.prompt("hi")) == "<|bos|><|user|>hi<|end|><|assistant|>"


def test_the_prompt_of_a_pair_is_what_is_posed_in_a_learned_vocabulary_too(tmp_path) -> None:
    path = write_pairs(tmp_path / "p.jsonl", 40)
    tokenizer = Tokenizer.train_bpe(dialogue_texts(path), 280)
    pairs = PreferencePairs(path, tokenizer)
    for trajectory in pairs.demonstrations(np.arange(5)):
        prompt = trajectory.tokens[~trajectory.action_mask]
        assert prompt.tolist() == pairs.prompt(trajectory.task).tolist()
        asked = [{"role": "user", "content": pairs.text(trajectory.task)}]
        assert prompt.tolist() == tokenizer.encode_chat(asked, add_generation_prompt=True)[0].tolist()


def test_a_prompt_that_lost_turns_begins_with_a_question(tmp_path) -> None:
    turns = [{"role": role, "content": content} for role, content in (("user", "x" * 9), ("user", "a"), ("assistant", "b"), ("user", "c"))]
    answers = {name: [*turns, {"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    for most, prompt in ((8, "<|user|>c<|end|>"), (11, "<|user|>a<|end|><|assistant|>b<|end|><|user|>c<|end|>")):
        assert said(of_rows(tmp_path / "p.jsonl", answers, max_prompt_tokens=most).prompt(0)) == f"<|bos|>{prompt}<|assistant|>"


def test_long_prompts_lose_their_oldest_turns_and_responses_their_end(tmp_path, caplog) -> None:
    long = {"prompt": "x" * 40, "chosen": "good", "rejected": "bad"}
    same = {"prompt": "q", "chosen": "good", "rejected": "goof"}
    caplog.set_level("INFO")
    pairs = of_rows(tmp_path / "p.jsonl", HH, long, same, max_prompt_tokens=8, max_response_tokens=3)
    assert "left out 1 pairs whose question is longer than 8 tokens, and 1 of two equal dialogues" in caplog.text
    assert len(pairs) == 1 and said(pairs.prompt(0)) == "<|bos|><|user|>c<|end|><|assistant|>"
    buffer, _ = pairs.pairs(np.array([0]))
    assert [said(t.tokens[5:]) for t in buffer] == ["goo", "bad"], "cut as a policy's would be"
    with pytest.raises(ValueError, match="a question must have at most 8 tokens in the chat form"):
        pairs.prompt("y" * 9)


def test_splits_and_halves_share_no_conversation(tmp_path) -> None:
    # ten depths of the same conversation go together
    rows = [{"prompt": f"Human: {i}" + "\n\nAssistant: so\n\nHuman: and?" * (i % 3), "chosen": "y", "rejected": "n"} for i in range(300)]
    pairs = of_rows(tmp_path / "p.jsonl", *rows, *rows)
    parts = [set(pairs.rows(split).tolist()) for split in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 600 and len(parts[0]) > 400 and len(parts[2]) > 50
    first, second = (set(pairs.rows("train", half).tolist()) for half in ("first", "second"))
    assert first | second == parts[0] and not first & second and min(len(first), len(second)) > 150
    assert {row % 300 for row in first}.isdisjoint(row % 300 for row in second)
    held_out = pairs.held_out("first", 1000).tolist()
    assert set(held_out) == parts[2] | second and held_out[: len(parts[2])] == sorted(parts[2]) and pairs.held_out("all", 5).size == 5
    assert pairs.held_out("first", 1000, has_seen=True).tolist() == sorted(parts[2])
    tasks = pairs.tasks(3, 700, "train")
    assert set(tasks) == parts[0] and tasks == pairs.tasks(3, 700, "train") != pairs.tasks(4, 700, "train")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": HH["chosen"]}, r"p.jsonl:1: 'rejected' must be a text or a list of messages, got 'None'; a file of preference"),
        ({"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a"}, "'chosen' must be a dialogue that ends with an assistant's turn"),
        ({"chosen": "plain", "rejected": "text"}, "'chosen' must be a dialogue that ends with an assistant's turn, got 'plain'"),
        ({"chosen": "x\n\nHuman: a\n\nAssistant: b", "rejected": "y"}, "'chosen' must begin with 'Human: ' or 'Assistant: ', got 'x"),
        ({"chosen": [{"role": "user"}], "rejected": []}, "'chosen' must hold messages with a role and a content"),
    ],
)
def test_files_that_do_not_fit_say_where_and_what_does(tmp_path, row, message) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        of_rows(tmp_path / "p.jsonl", row)
    assert "hh-rlhf" in str(caught.value)


def test_a_file_without_pairs_or_a_split(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"must hold at least one pair, got none \(0 were too long, 1 of two equal dialogues\)"):
        of_rows(tmp_path / "p.jsonl", {"prompt": "q", "chosen": "same", "rejected": "same"})
    with pytest.raises(FileNotFoundError, match="path must be a JSONL file of preference pairs"):
        PreferencePairs(tmp_path / "absent.jsonl", BYTES)
    pairs = of_rows(tmp_path / "p.jsonl", {"prompt": "q", "chosen": "a", "rejected": "b"})
    with pytest.raises(ValueError, match="a file of 1 pairs must have some of the split 'train', got none: give more pairs"):
        [pairs.rows(split) for split in ("train", "test")]
    for bad in (1, -1, True, None):
        with pytest.raises(ValueError, match="task must be the row of one of 1 pairs, or a question"):
            pairs.prompt(bad)
