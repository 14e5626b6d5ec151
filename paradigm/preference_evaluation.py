"""What is measured where nothing is right or wrong: how reward models order held-out pairs, what policies' answers are worth by the reward model that
they were trained on and by a gold one that it never saw, how far they have gone from where they started, and what they forgot.

A gold reward model stands for people, as in Gao et al. (arXiv:2210.10760): it is another model, trained on conversations of which the proxy saw none.
It is not people; what it prefers is what a model of this size makes of their choices.

Figures go to preferences.jsonl (`run_folder.Preference`), some answers to responses.json. All answers are sampled at temperature 1, with the same
noise for every policy.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from paradigm import distributed
from paradigm.batch import PackedBatch
from paradigm.environments.text_codec import PaddedCodec
from paradigm.figures import interval_text
from paradigm.policy import Policy
from paradigm.preference_world import PreferenceWorld
from paradigm.reward_stage import Reward, rank_pairs
from paradigm.rl_stage import RL
from paradigm.rollout_source import action_log_probs
from paradigm.run import read_json, write_json
from paradigm.stage import Stage
from paradigm.stages import Pretrain
from paradigm.statistics import Estimate, bootstrap_mean, wilson_interval
from paradigm.trajectory import TrajectoryBuffer
from paradigm.verifiers import RewardModel

if TYPE_CHECKING:
    from paradigm.recipe_run import RecipeRun

_log = logging.getLogger(__name__)

_NUM_SHOWN = 3
PACK_TOKENS = 8192


class _Answers(NamedTuple):
    """A policy's answers to the held-out prompts [B], and what they are worth."""

    rollouts: TrajectoryBuffer
    proxy: np.ndarray
    gold: np.ndarray | None


class PreferenceMeasurements:
    """The measurements of one run in a world of preferences.

    Args:
        key: of the sampling noise.
    """

    def __init__(self, run: RecipeRun, world: PreferenceWorld, key: tuple[int, int]):
        self._run, self._world, self._key = run, world, key
        self._models: dict[str, RewardModel] = {}
        self._starts: dict[tuple[str, str], tuple[Policy, _Answers]] = {}
        self._losses: dict[tuple[str, str], np.ndarray] = {}  # of the policies that stages started from, by what was read

    def reward_model(self, name: str) -> RewardModel:
        """A reward stage's model, or that of a folder. Raises: ValueError for a folder without one, or with another vocabulary."""
        if name not in self._models:
            folder = self._run.files.stage_folder(name) / "model" if self._run.files.finished(name) is not None else Path(name)
            policy = Policy.from_pretrained(folder, distributed.device())
            if policy.config.vocab_size < self._world.pairs.tokenizer.vocab_size:
                raise ValueError(f"{folder} must speak the run's tokens, got a vocabulary of {policy.config.vocab_size}")
            self._models[name] = RewardModel(policy)
        return self._models[name]

    def measure(self, stage: Stage, policy: Policy, where: dict[str, Any]) -> None:
        """Measures a stage's policy, and where it starts RL, once, the policy that it starts from.

        Args: where: what every row of a measurement has.
        """
        config = self._run.recipe.evaluation
        if isinstance(stage, Reward):
            most = config.problems if where["final"] else config.curve_problems
            rows = self._world.pairs.held_out(stage.half, most, has_seen=self._has_seen_dialogues(stage))
            ranking = rank_pairs(RewardModel(policy), self._world.pairs, rows)
            accuracy = wilson_interval(ranking.correct, ranking.pairs)
            _log.info("%s, step %d: %s of %d held-out pairs in people's order", stage.name, where["step"], interval_text(accuracy), ranking.pairs)
            self._run.files.add_preference(**where, kind=stage.kind, **ranking._asdict())
            return
        row: dict[str, Any] = {}
        if isinstance(stage, RL):
            start = self._start(stage)
            answers = self._answers(policy, stage)
            row = self._worth(answers, stage) | self._against(answers, start) | {"kl": self._divergence(answers, start[0])}
            told = ", ".join(f"{name} {row[name][0]:.3f}" for name in ("kl", "proxy", "gold") if name in row)
            _log.info("%s, step %d: %s; won %d, lost %d by gold", stage.name, where["step"], told, row.get("wins", 0), row.get("losses", 0))
        if where["final"]:
            row |= self._text_losses(stage, policy)
        if row:
            self._run.files.add_preference(**where, kind=stage.kind, **row)
        if isinstance(stage, RL) and where["final"]:
            self._show(answers, stage.label, stage.name)

    def _has_seen_dialogues(self, stage: Stage) -> bool:
        """Whether a stage starts from weights that were trained on preferred dialogues."""
        name = self._run.recipe.start_of(stage)
        if name == "scratch":
            return False
        earlier = self._run.recipe.stage(name)
        return not (isinstance(earlier, Pretrain) and earlier.text_share == 1) or self._has_seen_dialogues(earlier)

    def _start(self, stage: RL) -> tuple[Policy, _Answers]:
        """The policy that a stage of RL starts from, and its answers; its own figures are written when first asked for."""
        name = self._run.recipe.start_of(stage)
        key = (name, stage.reward_of)
        if key not in self._starts:
            policy, tokens = self._run.policy_before(stage)
            policy = policy.to(distributed.device())
            answers = self._answers(policy, stage)
            self._starts[key] = policy, answers
            label = name if name == "scratch" else self._run.recipe.stage(name).label
            if not any(row["stage"] == name and row.get("scorer") == stage.reward_of for row in self._run.files.preferences()):
                self._run.files.add_preference(policy=label, stage=name, step=0, tokens=tokens, control=False, final=True, kind="start",
                                               **self._worth(answers, stage), kl=(0.0, 0.0, 0.0))  # fmt: skip
                self._show(answers, label, name)
        return self._starts[key]

    def _answers(self, policy: Policy, stage: RL) -> _Answers:
        config = self._run.recipe.evaluation
        rollouts = self._run.sampler(policy).collect(
            self._world.environment, self._world.held_out(config.problems), group_size=1, temperature=1.0, max_tokens=config.max_tokens, key=self._key
        )
        dialogues = [trajectory.tokens for trajectory in rollouts]
        gold = self.reward_model(config.gold).scores(dialogues) if config.gold else None
        return _Answers(rollouts, self.reward_model(stage.reward_of).scores(dialogues), gold)

    def _worth(self, answers: _Answers, stage: RL) -> dict[str, Any]:
        good = ~answers.rollouts.failed & np.isfinite(answers.proxy)
        row: dict[str, Any] = {"scorer": stage.reward_of, "prompts": len(good), "unscored": int((~good).sum())}
        if good.any():
            row |= {"proxy": _mean(answers.proxy[good]), "response_tokens": _mean(answers.rollouts.num_actions[good])}
        if answers.gold is not None and (known := good & np.isfinite(answers.gold)).any():
            row["gold"] = _mean(answers.gold[known])
        return row

    def _against(self, answers: _Answers, start: tuple[Policy, _Answers]) -> dict[str, Any]:
        """Prompt by prompt, whose answer the gold model prefers; one without a score loses to one with, and counts nowhere if both have none."""
        if answers.gold is None or start[1].gold is None:
            return {}
        own, other = (np.where(a.rollouts.failed | ~np.isfinite(g), -np.inf, g) for a, g in ((answers, answers.gold), (start[1], start[1].gold)))
        counted = np.isfinite(own) | np.isfinite(other)
        return {
            "wins": int((own > other)[counted].sum()), "draws": int((own == other)[counted].sum()), "losses": int((own < other)[counted].sum()),
        }  # fmt: skip

    def _divergence(self, answers: _Answers, start: Policy) -> Estimate:
        """KL(policy || start), nats a response, by the mean of the log-ratios (k1) of the policy's own answers."""
        rollouts = answers.rollouts
        known = action_log_probs(start, rollouts, PACK_TOKENS)
        ratio = np.where(rollouts.action_mask, rollouts.logprobs - known, 0.0)
        owner = np.repeat(np.arange(len(rollouts)), rollouts.lengths)
        return _mean(np.bincount(owner, weights=ratio, minlength=len(rollouts))[~rollouts.failed])

    def _text_losses(self, stage: Stage, policy: Policy) -> dict[str, Any]:
        """Nats a token on the text that pretraining holds out and on held-out preferred responses; for RL also how much more than before it."""
        recipe = self._run.recipe
        what: dict[str, tuple[TrajectoryBuffer, Any]] = {"dialogue": (self._world.demonstrations(recipe.evaluation.problems, split="test"), "action")}
        if recipe.evaluation.text_of:
            pretrain = recipe.stage(recipe.evaluation.text_of)
            assert isinstance(pretrain, Pretrain)  # the recipe was checked
            what["text"] = self._run.text_stream(pretrain, held_out=True).take(recipe.evaluation.text_tokens), "all"
        row: dict[str, Any] = {}
        for name, (documents, rows) in what.items():
            losses = document_losses(policy, documents, rows)
            row[f"{name}_loss"] = _mean(losses)
            if isinstance(stage, RL):
                start = recipe.start_of(stage)
                if (start, name) not in self._losses:
                    self._losses[start, name] = document_losses(self._start(stage)[0], documents, rows)
                row[f"{name}_change"] = _mean(losses - self._losses[start, name])
        return row

    def _show(self, answers: _Answers, label: str, name: str) -> None:
        """Keeps the first answers for the report."""
        path = self._run.files.folder / "responses.json"
        codec = PaddedCodec(self._world.pairs.tokenizer)
        shown = [row for row in distributed.from_first(lambda: read_json(path, [])) if row["stage"] != name]
        for i in range(min(_NUM_SHOWN, len(answers.rollouts))):
            rollout = answers.rollouts[i]
            said = [token for token in rollout.tokens[rollout.action_mask].tolist() if token != self._world.pairs.end]
            scores = {"proxy": answers.proxy[i], "gold": None if answers.gold is None else answers.gold[i]}
            shown.append({
                "policy": label, "stage": name, "prompt": self._world.describe(rollout.task), "response": codec.decode(said),
                **{name: None if score is None or not np.isfinite(score) else float(score) for name, score in scores.items()},
            })  # fmt: skip
        write_json(path, shown)


@torch.no_grad()
def document_losses(policy: Any, documents: TrajectoryBuffer, rows: Any) -> np.ndarray:
    """float64 [B], nats a token of each document: of all its tokens but the first (rows="all"), or of its actions ("action")."""
    sums, counts = np.zeros(len(documents)), np.zeros(len(documents))
    pack_tokens = max(PACK_TOKENS, int(documents.lengths.max(initial=0)))
    for batch in PackedBatch.pack(documents, pack_tokens, rows=rows, normalize="none", ce=1.0):
        logprob = policy.log_probs(batch.to(policy.head_weight.device)).double().cpu().numpy()
        sums += np.bincount(batch.trajectory.numpy(), weights=-logprob, minlength=len(documents))
        counts += np.bincount(batch.trajectory.numpy(), minlength=len(documents))
    return sums[counts > 0] / counts[counts > 0]


def _mean(values: np.ndarray) -> Estimate:
    """Mean with its bootstrap interval."""
    mean, low, high = bootstrap_mean(np.asarray(values, np.float64), seed=0, resamples=2000)
    return Estimate(mean, min(low, mean), max(high, mean))  # means of equal values may differ in their last bit
