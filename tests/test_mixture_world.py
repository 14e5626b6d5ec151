"""Mixtures in recipes: who gets how many tasks, a kind's own objective, what is refused, and a run from its first stage to its report."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from paradigm.cli import main
from paradigm.config import ConfigError
from paradigm.kind_objective import KindObjective
from paradigm.learner import Learner
from paradigm.mixture_world import open_world
from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig
from paradigm.recipe import decode_recipe, load_recipe, recipe_values
from paradigm.recipe_run import apply, run_recipe
from paradigm.rl_stage import RL
from paradigm.rollout_source import RolloutSource, kind_metrics
from paradigm.sampler import Sampler
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import TrajectoryBuffer
from paradigm.world import WorldConfig

POLICY = {"vocab_size": 272, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 32, "max_position_embeddings": 128}


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    rows = [{"question": f"What is {i} + {i}?", "answer": f"It is <<{i}+{i}={2 * i}>>{2 * i}.\n#### {2 * i}"} for i in range(120)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def kinds(path: Path) -> list[dict]:
    return [
        {"name": "sums", "operations": "+", "digits": 1, "weight": 2.0},
        {"name": "words", "kind": "gsm8k", "path": str(path), "max_action_tokens": 40},
        {"name": "products", "operations": "*", "digits": 1, "products": [[1, 1]], "transfer": True},
    ]  # fmt: skip


def recipe_of(path: Path, **rl):
    evaluation = {"problems": 8, "curve_problems": 8, "temperatures": [1.0], "transfer_problems": 4, "pass_at": [1, 2], "samples": 2,
                  "pass_at_problems": 6, "max_tokens": 100}  # fmt: skip
    stages = [
        {"kind": "imitate", "tokens": 1024, "step_tokens": 512, "problems": 20},
        {"kind": "rl", "steps": 2, "tasks_per_step": 6, "group_size": 2, "max_tokens": 100, "checkpoint_every": 1, "evaluate_every": 1, **rl},
    ]
    world = {"kind": "mixture", "kinds": kinds(path)}
    return decode_recipe({"name": "mixed", "slots": 16, "policy": POLICY, "world": world, "evaluation": evaluation, "stages": stages})


def test_each_kind_gets_its_share_and_the_seed_says_which(problems) -> None:
    recipe = recipe_of(problems)
    world, again = (open_world(recipe.world, 0) for _ in range(2))
    tasks = world.tasks("train", 5, 31)
    assert tasks == again.tasks("train", 5, 31) and tasks != world.tasks("train", 6, 31)
    counts = Counter(name for name, _ in tasks)
    assert set(counts) == {"sums", "words"} and counts["sums"] in (20, 21), "a weight of 2 against 1, to within one"
    assert len(set(tasks)) == 31 and [name for name, _ in tasks] != sorted(name for name, _ in tasks)
    singles = Counter(world.tasks("train", seed, 1)[0][0] for seed in range(300))
    assert 160 < singles["sums"] < 240, "also where there is less than one for each"
    assert Counter(name for name, _ in world.held_out(9)) == {"sums": 5, "words": 4}, "held-out ones evenly"
    assert {name for name, _ in world.transfer_tasks(3)} == {"products"}
    trained, held_out = ({task for name, task in tasks if name == "words"} for tasks in (world.tasks("train", 0, 300), world.held_out(30)))
    assert trained and held_out and not trained & held_out


def test_demonstrations_are_of_every_trained_kind(problems) -> None:
    world = open_world(recipe_of(problems).world, 0)
    shown = world.demonstrations(30)
    assert Counter(world.kind_of(t.task) for t in shown) == {"sums": 20, "words": 10}
    words = next(t for t in shown if t.task[0] == "words")
    assert "<<" in bytes(words.tokens[words.tokens < 256].tolist()).decode() and words.reward == 1
    assert world.evaluate_demonstrators(12)["problems"] == 12, "the native kind has demonstrators who can be wrong"
    assert world.describe(words.task).startswith("What is ") and world.posed("3+4") == ("sums", "3+4")
    assert len(world.documents(9)) == 9


class Fixed:
    """A source's world and sampler, whose rollouts are given."""

    is_exact = True
    kind_of = staticmethod(lambda task: task[0])

    def __init__(self, rollouts):
        self.rollouts = rollouts
        self.policy = Policy(PolicyConfig(**POLICY), seed=0)


def rollouts_of(groups: list[tuple[str, list[float]]]) -> TrajectoryBuffer:
    """Rollouts of one action token each, and more for kind b."""
    tokens, masks, rewards, offsets, group, tasks = [], [], [], [0], [], []
    for number, (kind, scores) in enumerate(groups):
        tasks.append((kind, number))
        for score in scores:
            length = 4 if kind == "b" else 2
            tokens += [1] * length
            masks += [False] + [True] * (length - 1)
            rewards += [0.0] * (length - 1) + [score]
            offsets.append(len(tokens))
            group.append(number)
    return TrajectoryBuffer.from_arrays(
        tokens, offsets, action_mask=masks, rewards=rewards, logprobs=np.full(len(tokens), -1.0), group=group, task=group, tasks=tasks
    )


def parts_of(rollouts, **options):
    fixed = Fixed(rollouts)
    config = RL.of("ppo", name="rl", group_size=2, **options)
    source = RolloutSource(config, fixed, fixed, 0)
    return {kind: source._part(own, 0, config.of_kind(kind), share) for kind, own, share in source._by_objective(rollouts)}


def test_a_kinds_own_normalisation_by_hand() -> None:
    rollouts = rollouts_of([("a", [1.0, 0.0]), ("b", [1.0, 0.0]), ("b", [0.5, 0.0])])
    parts = parts_of(rollouts, kinds={"b": KindObjective(normalize="std")})
    assert list(parts) == ["", "b"]
    (one,), (other,) = parts[""][0].batches, parts["b"][0].batches
    # a: two rollouts of six, advantage half, over its own two tokens
    assert torch.allclose(one.streams["advantage"], torch.tensor([0.5, -0.5]) / 2 * (2 / 6))
    # b: four of six, over its own twelve tokens, divided by the group's standard deviation, so both groups weigh the same
    sign = torch.tensor([1.0] * 3 + [-1.0] * 3 + [1.0] * 3 + [-1.0] * 3)
    assert torch.allclose(other.streams["advantage"], sign * 0.5**0.5 / 12 * (4 / 6), atol=1e-5)


def test_kinds_that_say_nothing_new_leave_the_gradient_alone() -> None:
    rollouts = rollouts_of([("a", [1.0, 0.0]), ("b", [1.0, 0.0]), ("b", [0.5, 0.0])])
    together = parts_of(rollouts, average="trajectories")[""][0].batches[0]
    apart = parts_of(rollouts, average="trajectories", kinds={"b": KindObjective(normalize="none")})
    joined = torch.cat([apart[kind][0].batches[0].streams["advantage"] for kind in ("", "b")])
    assert torch.allclose(joined, together.streams["advantage"])


def test_a_kind_may_have_another_objective() -> None:
    stage = RL.of("cispo", name="rl", max_ratio=7.0, entropy=0.01, kinds={"a": KindObjective(objective="grpo"), "b": KindObjective(clip_low=0.1)})
    assert stage.of_kind("a").objective == "grpo" and stage.of_kind("a").kl == 0.04 and stage.of_kind("a").average == "trajectories"
    assert stage.of_kind("a").entropy == 0.0 and stage.of_kind("a").steps == stage.steps, "its paper's constants, the stage's rounds"
    assert stage.of_kind("b").objective == "cispo" and stage.of_kind("b").clip_low == 0.1 and stage.of_kind("b").max_ratio == 7.0
    assert stage.of_kind("c") is stage and stage.needs_reference and not stage.trains_value
    assert RL.of("ppo", name="rl", kinds={"a": KindObjective(advantage="gae")}).trains_value
    pairs = parts_of(rollouts_of([("a", [1.0, 0.0]), ("b", [1.0, 0.0])]), kinds={"b": KindObjective(objective="dpo")})
    (batch,) = pairs["b"][0].batches
    assert batch.pair_weight.tolist() == [0.5] and len(pairs[""][0].batches) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "ppo", "kinds": {"a": {"objective": "distillation"}}}, "objective of a kind must not be 'distillation'"),
        ({"objective": "ppg", "kinds": {"sums": {"clip_low": 0.1}}}, "kinds must be left out with auxiliary_every"),
        ({"objective": "ppo", "kinds": {"sums": {"advantage": "none"}}}, r"kinds.sums: advantage must not be 'none' with objective 'ppo'"),
        ({"objective": "ppo", "kinds": {"sums": {"normalise": "std"}}}, "unknown key 'normalise'; did you mean 'normalize'"),
        ({"objective": "ppo", "kinds": {"products": {"clip_low": 0.1}}}, r"kinds of the world that are trained on \(sums, words\), got 'products'"),
    ],
)
def test_objectives_that_make_no_sense_are_refused(problems, options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_of(problems, **options)


@pytest.mark.parametrize(
    ("world", "message"),
    [
        ({"kind": "mixture"}, "kinds must hold at least one that is trained on, got none"),
        ({"kind": "mixture", "kinds": [{"name": "a", "transfer": True}]}, "kinds must hold at least one that is trained on, got a"),
        ({"kind": "mixture", "kinds": [{"name": "a"}, {"name": "a"}]}, "kinds must have names of their own, got 'a' twice"),
        ({"kind": "mixture", "kinds": [{"name": "a", "weight": 0.0}]}, "weight of 'a' must be > 0, got 0"),
        ({"kind": "mixture", "kinds": [{"name": "a", "wait": 1.0}]}, "unknown key 'wait'; did you mean 'weight'"),
        ({"kind": "mixture", "kinds": [{"name": "a/b"}]}, "name of a kind must be a word without a slash"),
        ({"kind": "mixture", "kinds": [{"name": "a", "kind": "mixture", "kinds": [{"name": "b"}]}]}, "kind of 'a' must be a world of one seat"),
        ({"kind": "reasoning_gym"}, "generator must name one of reasoning-gym's"),
        ({"kind": "arithmetic", "generator": "gcd"}, "generator must be left out where kind is 'arithmetic', got 'gcd'"),
        ({"kinds": [{"name": "a"}]}, "kinds must be left out where kind is 'arithmetic'"),
    ],
)
def test_worlds_that_make_no_sense_are_refused(world, message) -> None:
    with pytest.raises(ConfigError, match=message):
        decode_recipe({"name": "r", "policy": POLICY, "world": world, "stages": [{"kind": "imitate"}]})


def test_a_missing_file_of_problems_says_where_to_get_it(tmp_path) -> None:
    for path, data in (("", ""), (str(tmp_path / "absent.jsonl"), ""), ("", str(tmp_path / "absent.jsonl"))):
        with pytest.raises(ConfigError, match=r"data.path must name a JSONL file of problems.*github.com/openai/grade-school-math"):
            open_world(WorldConfig(kind="gsm8k", path=path), 0, data=data)


def test_native_worlds_speak_bytes_only() -> None:
    tokenizer = Tokenizer.train_bpe(["1+1=2\n"] * 9, 300)
    with pytest.raises(ConfigError, match="the tokenizer must be that of bytes where a world's kind is 'arithmetic'"):
        open_world(WorldConfig(), 0, tokenizer)
    assert open_world(WorldConfig(), 0, Tokenizer.bytes()).kind_of("1+2") == "+"


def test_recovery_is_measured_in_arithmetic_only(problems) -> None:
    values = recipe_values(recipe_of(problems))
    values["evaluation"]["recovery"] = ["rl"]
    with pytest.raises(ConfigError, match=r"evaluation\.recovery must be empty where the world is 'mixture'"):
        decode_recipe(values)


def test_errors_are_forced_in_arithmetic_only(problems) -> None:
    values = recipe_values(recipe_of(problems))
    values["stages"][-1]["forced_errors"] = 0.5
    with pytest.raises(ConfigError, match=r"rl\.forced_errors must be 0 where the world is 'mixture'.*got 0\.5"):
        decode_recipe(values)


def test_metrics_a_kind() -> None:
    rollouts = rollouts_of([("a", [1.0, 0.0]), ("b", [1.0, 1.0])])
    metrics = kind_metrics(rollouts, lambda task: task[0])
    assert metrics["rollout/success/a"] == 0.5 and metrics["rollout/success/b"] == 1.0 and metrics["rollout/rollouts/b"] == 2
    assert metrics["rollout/action_tokens_mean/a"] == 1 and metrics["rollout/action_tokens_mean/b"] == 3
    assert kind_metrics(rollouts_of([("a", [1.0])]), lambda task: task[0]) == {} == kind_metrics(rollouts, None)


def test_a_run_on_a_mixture_from_imitation_to_its_report(problems, tmp_path, capsys) -> None:
    recipe = recipe_of(problems, objective="grpo", kinds={"words": {"objective": "cispo"}})
    assert decode_recipe(recipe_values(recipe)) == recipe
    folder = tmp_path / "run"
    run_recipe(recipe, folder)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    last = rows[-1]
    assert last["stage"] == "rl" and last["rollout/rollouts/sums"] == 8 and last["rollout/rollouts/words"] == 4
    assert "rollout/nonzero_advantage_share" in last and "rollout/nonzero_advantage_share/words" in last
    evaluations = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    rl = [e for e in evaluations if e["policy"] == "rl"]
    assert len(rl) == 2 and all(set(e["by_operation"]) == {"sums", "words"} and set(e["transfer"]) == {"products"} for e in rl)
    attempts = json.loads((folder / "pass_at_k.json").read_text())
    assert {(a["policy"], a["kind"], a["transfer"]) for a in attempts} >= {("imitated", "", False), ("rl", "words", False), ("rl", "", True)}
    assert all(set(a["pass_at"]) == {"1", "2"} and a["samples"] == 2 for a in attempts)
    shown = json.loads((folder / "transcripts.json").read_text())
    assert [t["stage"] for t in shown] == ["imitate"] * 2 + ["rl"] * 2 and any(t["problem"].startswith("What is") for t in shown)
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert 'id="kinds"' in page and 'id="transfer"' in page and 'id="attempts"' in page and "Success on words" in page
    assert 'id="recovery"' not in page and 'id="distillation"' not in page and "incomplete" not in page
    capsys.readouterr()
    assert main(["eval", str(folder), "--problems", "6", "--samples", "2"]) == 0
    said = capsys.readouterr().out
    assert "of 12 right" in said and "pass@1" in said and "pass@2" in said and "words" in said and "never trained on" in said
    assert main(["eval", str(folder), "--samples", "2", "--pass-at", "3"]) == 1
    assert "--pass-at must be from 1 to --samples 2, got 3" in capsys.readouterr().err
    assert main(["sample", str(folder), "3+4"]) == 0 and "3+4" in capsys.readouterr().out

    # killed after a step of RL, it ends with the same bits
    again = tmp_path / "again"
    updates = RolloutSource.updates

    def interrupted(source, step):
        if step == 1:
            raise KeyboardInterrupt
        return updates(source, step)

    RolloutSource.updates = interrupted
    try:
        with pytest.raises(KeyboardInterrupt):
            run_recipe(recipe, again)
    finally:
        RolloutSource.updates = updates
    run_recipe(recipe, again)
    ours, theirs = (Policy.from_pretrained(f / "stages" / "rl" / "model") for f in (folder, again))
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters()))


def test_updates_of_several_parts_are_one_step(problems) -> None:
    recipe = recipe_of(problems, objective="ppo", entropy=0.01, kinds={"words": {"objective": "gspo"}})
    world = open_world(recipe.world, 0)
    policy = Policy(PolicyConfig(**POLICY), seed=0)
    source = RolloutSource(recipe.stage("rl"), Sampler(policy, slots=16), world, 0)
    (update,) = source.updates(0)
    assert [type(part.objective).__name__ for part in update.parts] == ["PPOClip", "GSPO"]
    assert apply(Learner(policy), update)["train/grad_norm"] > 0


def test_overrides_reach_the_recipes_that_ship() -> None:
    recipes = Path(__file__).parents[1] / "recipes"
    reasoning = load_recipe(recipes / "reasoning.toml", ["policy.hidden_size=512"])
    assert len([k for k in reasoning.world.kinds if k.kind == "reasoning_gym" and not k.transfer]) >= 8
    assert reasoning.policy.head_dim == 128 and any(k.transfer for k in reasoning.world.kinds)
    gsm8k = load_recipe(recipes / "gsm8k.toml", ["data.path=mine.jsonl"])
    assert gsm8k.data.path == "mine.jsonl" and gsm8k.policy is None and gsm8k.initial == "smollm2"
    with pytest.raises(ConfigError, match="policy must be given where initial is not"):
        decode_recipe({"name": "r", "stages": [{"kind": "imitate"}]})
