"""A policy from a Hugging Face folder, with its own tokenizer, imitates GSM8K's form and goes on by RL; other files of problems; what is refused."""

import json
from pathlib import Path

import pytest

from paradigm.cli import main
from paradigm.config import ConfigError
from paradigm.environments.text_codec import PaddedCodec
from paradigm.initial import initial_folder
from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig
from paradigm.recipe import decode_recipe
from paradigm.recipe_run import run_recipe
from paradigm.text_world import TextWorld
from paradigm.tokenizer import Tokenizer
from paradigm.world import WorldConfig


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    rows = [{"question": f"Jo has {i} pens and buys {i}. How many?", "answer": f"Jo has {i}+{i}=<<{i}+{i}={2 * i}>>{2 * i}.\n#### {2 * i}"}
            for i in range(80)]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def initial(tmp_path: Path, problems: Path) -> tuple[Path, Tokenizer]:
    tokenizer = Tokenizer.train_bpe(problems.read_text().splitlines(), 320)
    config = PolicyConfig(vocab_size=320, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32, max_position_embeddings=256)
    Policy(config, seed=0).save_pretrained(tmp_path / "initial", tokenizer=tokenizer)
    return tmp_path / "initial", tokenizer


def test_a_run_from_a_folder_with_its_own_tokenizer(problems, initial, tmp_path, capsys) -> None:
    folder, tokenizer = initial
    recipe = decode_recipe({
        "name": "words", "slots": 16, "initial": str(folder), "data": {"path": str(problems)},
        "world": {"kind": "gsm8k", "max_action_tokens": 48},
        "evaluation": {"problems": 4, "curve_problems": 4, "temperatures": [1.0], "pass_at": [1, 2], "samples": 2, "pass_at_problems": 3,
                       "max_tokens": 128},
        "stages": [
            {"kind": "imitate", "tokens": 10000, "step_tokens": 500, "problems": 40, "learning_rate": 0.03, "warmup_steps": 2},
            {"kind": "rl", "objective": "cispo", "steps": 1, "tasks_per_step": 2, "group_size": 2, "max_tokens": 128},
        ],
    })  # fmt: skip
    run = run_recipe(recipe, tmp_path / "run")
    assert run.tokenizer.fingerprint == tokenizer.fingerprint
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train/loss"] for row in rows if row["stage"] == "imitate"]
    assert rows[-1]["stage"] == "rl" and rows[-1]["rollout/failed"] == 0, "ids that the tokenizer lacks are wrong, not failures"
    assert losses[-1] < 0.8 * losses[0]
    assert Tokenizer.from_pretrained(tmp_path / "run" / "stages" / "rl" / "model").fingerprint == tokenizer.fingerprint
    (shown,) = [t for t in json.loads((tmp_path / "run" / "transcripts.json").read_text()) if t["stage"] == "rl"]
    assert shown["problem"].startswith("Jo has") and "".join(t["text"] for t in shown["tokens"]).startswith(shown["problem"])
    held_out = {run.world.describe(task) for task in run.world.held_out(80)}
    assert 0 < len(held_out) < 40 and not held_out & {run.world.describe(task) for task in run.world.tasks("train", 0, 80)}
    demonstrations = run.world.demonstrations(5)
    told = [tokenizer.decode(t.tokens[t.segment == 4]) for t in demonstrations]
    assert all(text.endswith(">>") and text[:-2].isdecimal() for text in told) and run.world.evaluate_demonstrators(5) is None
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "run"), "--problems", "3", "--samples", "2", "--pass-at", "1,2"]) == 0
    said = capsys.readouterr().out
    assert "pass@2" in said and "never trained on" not in said
    assert main(["sample", str(tmp_path / "run"), "1+1"]) == 1
    assert "cannot be typed" in capsys.readouterr().err
    assert main(["sample", str(tmp_path / "run")]) == 0


def test_any_file_of_problems_and_answers(tmp_path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [{"problem": f"{i} apples?", "result": f"{i}/2", "why": f"half of <<{i}*1={i}>>{i}"} for i in range(1, 60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    world = TextWorld(
        WorldConfig(kind="problems", path=str(path), question="problem", answer="result", solution="why", calculator=False), 0, Tokenizer()
    )
    (shown,) = world.demonstrations(1)
    text = bytes(shown.tokens[shown.tokens < 256].tolist()).decode()
    assert "#### " in text and (shown.segment == 4).sum() == 0, "without the calculator its annotations are the policy's own"
    (task,) = world.tasks("train", 0, 1)
    number = int(world.describe(task).split()[0])
    world.environment.reset(task)
    assert world.environment.step([*f"#### {number / 2}".encode(), 257]).rewards == (1.0,), "the same number, written otherwise"


def test_where_the_first_weights_come_from(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r'initial must be "smollm2" or a Hugging Face folder with config.json, got'):
        initial_folder(str(tmp_path), tmp_path / "scratch")
    with pytest.raises(ConfigError, match="end-of-text token"):
        TextWorld(WorldConfig(kind="gsm8k"), 0, Tokenizer.train_bpe(["a"], 300, special_tokens=()), "x")


def test_ids_that_a_tokenizer_lacks_are_wrong_text() -> None:
    codec = PaddedCodec(Tokenizer())
    assert codec.decode([50, 52, 300, 301, 55]) == "24\ufffd\ufffd7" and codec.decode([]) == "" and codec.decode([400]) == "\ufffd"
    assert codec.encode("24").tolist() == [50, 52]
