"""Running a recipe: each stage is trained, measured on held-out tasks and saved; a killed run goes on bit for bit.

    for stage in recipe.stages:
        source = where the stage's trajectories come from
        train(source)  ->  evaluate  ->  stages/NAME/model

Under torchrun every rank runs all of this: see `paradigm.distributed` and docs/distributed.md.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from paradigm import distributed
from paradigm.checkpoint import latest, load_checkpoint, prune, save_checkpoint
from paradigm.divided_sampler import DividedSampler
from paradigm.evaluation import CORRECT, attempt, evaluate, play_match, recover
from paradigm.initial import initial_folder, learned_tokenizer
from paradigm.learner import Learner, Schedule
from paradigm.memory_plan import plan_stage
from paradigm.metrics import MetricsLogger, Progress
from paradigm.mixture_world import open_world
from paradigm.objective import reduce_metrics
from paradigm.optimizer import Muon
from paradigm.policy import Policy, PolicyConfig
from paradigm.policy_config import widened
from paradigm.preference_evaluation import PreferenceMeasurements
from paradigm.preference_world import PreferenceWorld, pairs_file
from paradigm.recipe import Recipe, decode_recipe, recipe_values
from paradigm.reward_stage import PairSource, Reward, center_scores
from paradigm.rl_stage import RL
from paradigm.rollout_source import RolloutSource, step_seed
from paradigm.run import RunWriter, read_json, write_json
from paradigm.sampler import Sampler
from paradigm.sharding import Copies
from paradigm.sources.corpus import Corpus, build_corpus
from paradigm.sources.demonstrations import Demonstrations
from paradigm.sources.distilled import write_distilled
from paradigm.sources.standard_library import standard_library_corpus
from paradigm.sources.stream import CorpusStream, MixtureStream, SampleStream
from paradigm.stage import Source, Stage, Update
from paradigm.stages import Distil, Imitate, Pretrain, StreamSource, verified
from paradigm.timeline import StepTrace, Timeline, span
from paradigm.tokenizer import Tokenizer
from paradigm.transcript import transcript
from paradigm.world import World

_log = logging.getLogger(__name__)

# steps of sampling noise that no training step uses
EVALUATION_KEY, RECOVERY_KEY, DISTIL_KEY, TRANSFER_KEY, ATTEMPTS_KEY = 1 << 40, 1 << 41, 1 << 30, 1 << 44, 1 << 45


def run_recipe(
    recipe: Recipe, folder: str | Path, *, source_name: str = "", setup_seconds: float = 0.0, tensorboard: bool = False,
    on_stage: Callable[[RecipeRun, Stage], None] | None = None,
) -> RecipeRun:
    """Runs what is not yet done of `recipe` in `folder`; after a kill, the same call goes on bit for bit where the last checkpoint was.

    Args:
        folder: the run directory; it is made, or resumed if its recipe is the same.
        on_stage: called after each stage has been trained and measured.
    Raises: ValueError if `folder` holds a run of another recipe.
    """
    run = RecipeRun(recipe, Path(folder), source_name=source_name, setup_seconds=setup_seconds, tensorboard=tensorboard)
    for stage in recipe.stages:
        if run.files.finished(stage.name) is None:
            run.train(stage)
        if on_stage is not None:
            on_stage(run, stage)
    run.measure_recovery()
    return run


class RecipeRun:
    """One recipe in one run directory."""

    def __init__(self, recipe: Recipe, folder: Path, *, source_name: str = "", setup_seconds: float = 0.0, tensorboard: bool = False):
        self.recipe, self.tensorboard = recipe, tensorboard
        self.files = RunWriter(folder, name=recipe.name, seed=recipe.seed, recipe=source_name)
        resolved = recipe_values(recipe)
        if recipe_values(decode_recipe(self.files.info.setdefault("resolved", resolved))) != resolved:
            raise ValueError(f"{folder} holds a run of another recipe; give another folder, or delete it")
        if setup_seconds:
            self.files.info["setup_seconds"] = setup_seconds
        with distributed.first_alone():
            self.initial = initial_folder(recipe.initial, folder / "data" / "initial") if recipe.initial else None
        self._has_own_tokenizer = self.initial is not None and (self.initial / "tokenizer.json").is_file()
        self.tokenizer = Tokenizer.from_pretrained(self.initial) if self.initial is not None and self._has_own_tokenizer else Tokenizer()
        if recipe.data.vocabulary:
            texts = [stage.text for stage in recipe.stages if isinstance(stage, Pretrain) and stage.text_share > 0]
            with distributed.first_alone():
                pairs = pairs_file(recipe.world.path or recipe.data.pairs)
                self.tokenizer = learned_tokenizer(folder / "data" / "tokenizer", recipe.data.vocabulary, pairs, texts)
            self._has_own_tokenizer = True
        about_preferences = recipe.world.kind == "preferences"
        self.world = open_world(recipe.world, recipe.seed, self.tokenizer, recipe.data.pairs if about_preferences else recipe.data.path)
        left_out = getattr(self.world, "left_out", [])
        if self.files.info.setdefault("left_out", left_out) != left_out:
            raise ValueError(f"{folder} holds a run without the kinds {self.files.info['left_out']}, and here something is missing for {left_out}")
        self.preferences = None
        if isinstance(self.world, PreferenceWorld):
            self.preferences = PreferenceMeasurements(self, self.world, (recipe.seed, EVALUATION_KEY))
        if "num_parameters" not in self.files.info:
            policy = Policy.from_pretrained(self.initial) if self.initial is not None else Policy(self._policy_config, seed=0)
            self.files.info["num_parameters"] = sum(p.numel() for p in policy.parameters())
        self.files.save()
        self._started = time.monotonic()
        if not self.world.is_game and not any(e["policy"] == "demonstrators" for e in self.files.evaluations()):
            measured = self.world.evaluate_demonstrators(recipe.evaluation.problems)
            if measured is not None:
                self.files.add_evaluation(policy="demonstrators", stage="", tokens=0, control=False, temperature=1.0, final=True, **measured)

    @property
    def _policy_config(self) -> PolicyConfig:
        assert self.recipe.policy is not None  # the recipe refuses to be without both this and an initial folder
        return self.recipe.policy

    def policy_before(self, stage: Stage) -> tuple[Policy, int]:
        """The policy that a stage starts from, with the heads that the stage trains, and the tokens it had been trained on."""
        heads = ("value",) if isinstance(stage, RL) and stage.trains_value else ("reward",) if isinstance(stage, Reward) else None
        start = self.recipe.start_of(stage)
        if start == "scratch":
            dtype = getattr(torch, self.recipe.dtype)
            if self.initial is not None:
                return Policy.from_pretrained(self.initial, dtype=dtype, heads=heads), 0
            config = replace(self._policy_config, heads=heads or self._policy_config.heads)
            if isinstance(stage, Pretrain) and stage.width > 1:
                config = widened(config, stage.width)
            return Policy(config, seed=self.recipe.seed).to(dtype), 0
        return self.load_policy(start, heads), self.files.finished(start)["tokens"]  # type: ignore[index]

    def load_policy(self, stage_name: str, heads: tuple[str, ...] | None = None) -> Policy:
        return Policy.from_pretrained(self.files.stage_folder(stage_name) / "model", distributed.device(), heads=heads)

    def sampler(self, policy: Policy) -> Sampler:
        return DividedSampler(policy, slots=self.recipe.slots)

    def train(self, stage: Stage) -> None:
        """Trains one stage to its end, from its last checkpoint if it has one, then measures and saves its policy."""
        start, tokens_before = self.policy_before(stage)
        policy = Copies(start)
        plan = plan_stage(stage, policy.whole, slots=self.recipe.slots, evaluation_tokens=self.recipe.evaluation.max_tokens,
                          limit_gib=self.recipe.memory_limit_gib, shards=distributed.world())  # fmt: skip
        _log.info("%s", "\n".join(plan.lines()))
        plan.check()
        policy.trained.recomputed_layers, policy.trained.compiled = plan.recomputed_layers, stage.compile
        policy.trained.fp8 = policy.whole.fp8 = stage.fp8  # the whole's log-probs stand for what trains
        with contextlib.ExitStack() as stack:
            source = self.source(stage, policy)
            if isinstance(source, RolloutSource):
                stack.callback(source.close)
            self._train(stage, policy, source, tokens_before)

    def _train(self, stage: Stage, policy: Copies, source: Source, tokens_before: int) -> None:
        schedule = Schedule(kind=stage.schedule, warmup_steps=stage.warmup_steps, total_steps=source.num_updates)
        if stage.optimizer == "muon":
            optimizer = Muon(policy.trained, learning_rate=stage.learning_rate, weight_decay=stage.weight_decay)
            learner = Learner(policy.trained, optimizer, schedule, stage.max_grad_norm)
        else:
            rate, decay = stage.learning_rate, stage.weight_decay
            learner = Learner(policy.trained, None, schedule, stage.max_grad_norm, learning_rate=rate, weight_decay=decay)
        checkpoints = self.files.stage_folder(stage.name) / "checkpoints"
        done: dict[str, Any] = {"step": 0, "trained_tokens": 0, "seconds": 0.0}
        if found := distributed.from_first(lambda: str(latest(checkpoints) or "")):
            state = load_checkpoint(found)
            learner.load_state_dict(state["learner"])
            source.load_state_dict(state["source"])
            done = state["progress"]
            _log.info("%s goes on from step %d", stage.name, done["step"])
        # by the step, not by the tokens: a step of RL whose rollouts all fared alike trains none
        self.files.keep_evaluations(lambda row: row["stage"] != stage.name or (not row["final"] and row["step"] <= done["step"]))
        started = time.monotonic() - done["seconds"]
        with (
            distributed.only_first(MetricsLogger, self.files.folder, self.tensorboard) as logger,
            distributed.only_first(Progress, stage.name, source.num_steps, done=done["step"]) as progress,
        ):
            logger.truncate(stage.name, done["step"])
            logger.start_stage(stage.name, stage.kind, done["seconds"])
            for step in self._trace(stage).each(range(done["step"], source.num_steps)):
                row: dict[str, Any] = {}
                tokens_seen = learner.num_tokens
                step_started = time.monotonic()
                for update in source.updates(step):
                    row |= {**update.info, **apply(learner, update)}
                row["train/tokens"] = learner.num_tokens - tokens_seen
                done["trained_tokens"] += row["train/tokens"]
                done |= {"step": step + 1, "seconds": time.monotonic() - started}
                row["throughput/tokens_per_second"] = row["train/tokens"] / (time.monotonic() - step_started)
                with span("metrics", "records"):
                    progress.update(step + 1, logger.log(step + 1, row, tokens_before + done["trained_tokens"]))
                if step + 1 == source.num_steps:
                    break
                if stage.evaluate_every and (step + 1) % stage.evaluate_every == 0:
                    policy.gather()
                    if isinstance(source, RolloutSource):
                        source.settle()
                    with span("evaluate", "records"):
                        self.evaluate(stage, policy.whole, step + 1, tokens_before + done["trained_tokens"], final=False)
                if (step + 1) % stage.checkpoint_every == 0:
                    logger.flush()
                    with span("checkpoint", "records"):
                        parts = {"learner": learner.state_dict(), "source": source.state_dict(), "progress": done}
                        save_checkpoint(checkpoints / f"step-{step + 1:06d}", parts)
                        distributed.by_first(prune)(checkpoints, keep=2)
        learner.settle()
        tokens = tokens_before + done["trained_tokens"]
        trained_seconds = time.monotonic() - started
        policy.gather()
        policy.whole.fp8 = False  # it is measured as whoever opens it will run it
        if isinstance(source, PairSource):
            center_scores(policy.whole, source.pairs, source.rows)
        self.evaluate(stage, policy.whole, done["step"], tokens, final=True)
        own_tokenizer = self.tokenizer if self._has_own_tokenizer else None
        distributed.by_first(policy.whole.save_pretrained)(self.files.stage_folder(stage.name) / "model", tokenizer=own_tokenizer)
        self.files.info["stages"].append({
            "name": stage.name, "kind": stage.kind, "control": stage.control, "tokens": tokens, "trained_tokens": done["trained_tokens"],
            "rollout_tokens": getattr(source, "rollout_tokens", 0), "rollouts": getattr(source, "rollouts", 0),
            "flops": learner.flops, "seconds": trained_seconds,
        })  # fmt: skip
        self._spend()

    def _trace(self, stage: Stage) -> StepTrace:
        """What records the first steps of a stage, if it is to be traced."""
        synchronize = (lambda: torch.cuda.current_stream().synchronize()) if distributed.device().type == "cuda" else None
        num_steps = stage.trace_steps if distributed.is_first() else 0
        return StepTrace(self.files.stage_folder(stage.name) / "trace.json", num_steps, Timeline(synchronize))

    def _spend(self) -> None:
        """Adds the time since the last call to the run's seconds, and saves run.json."""
        now = time.monotonic()
        self.files.info["run_seconds"] += now - self._started
        self._started = now
        self.files.save()

    def source(self, stage: Stage, policy: Copies) -> Source:
        """Where a stage's trajectories come from."""
        seed = self.recipe.seed
        if isinstance(stage, RL):
            teacher = self.load_policy(stage.teacher) if stage.teacher else None
            mixed = self.recipe.stage(stage.pretrain_of) if stage.pretrain_of else None
            documents = self._documents(mixed) if isinstance(mixed, Pretrain) else None
            sampler, world = self.sampler(policy.whole), self.world
            if isinstance(world, PreferenceWorld) and self.preferences is not None:
                world = world.judged_by(self.preferences.reward_model(stage.reward_of))
            return RolloutSource(stage, sampler, world, seed, teacher=teacher, documents=documents, refresh=policy.gather)
        if isinstance(stage, Pretrain):
            return StreamSource(self._documents(stage), tokens=stage.tokens, step_tokens=stage.step_tokens, pack_tokens=stage.pack_tokens, rows="all")
        if isinstance(stage, Reward):
            assert isinstance(self.world, PreferenceWorld)  # the recipe was checked
            return PairSource(stage, self.world.pairs, seed)
        assert isinstance(stage, Imitate | Distil)
        tokens = stage.tokens
        if isinstance(stage, Distil):
            demonstrations = self._distilled(stage, policy.whole)
        else:
            shown = self.world.demonstrations(stage.problems)
            demonstrations = Demonstrations(verified(shown) if stage.filtered else shown)
            if stage.match_tokens_of:
                tokens = self.files.finished(stage.match_tokens_of)["trained_tokens"]  # type: ignore[index]
        stream = demonstrations.stream(seed)
        return StreamSource(stream, tokens=tokens, step_tokens=stage.step_tokens, pack_tokens=stage.pack_tokens, rows="action")

    def _documents(self, stage: Pretrain) -> MixtureStream:
        """Real text and worked problems, by their shares of tokens. The corpus is built once, in the run directory."""
        streams: dict[str, tuple[SampleStream, float]] = {}
        if stage.text_share > 0:
            streams["text"] = self.text_stream(stage), stage.text_share
        if stage.text_share < 1:
            worked = self.world.documents(stage.problems)
            streams["worked problems"] = Demonstrations(worked).stream(self.recipe.seed), 1 - stage.text_share
        return MixtureStream(streams)

    def text_stream(self, stage: Pretrain, *, held_out: bool = False) -> CorpusStream:
        """A pretrain stage's text, or what it holds out of it."""
        folder, tokenizer = self.files.folder / "data" / "text", self.tokenizer
        with distributed.first_alone():
            if stage.text == "stdlib" and not folder.exists():
                corpus = standard_library_corpus(folder, tokenizer, stage.text_bytes)
            elif stage.text != "stdlib" and (Path(stage.text) / "manifest.json").exists():
                corpus = Corpus.open(stage.text, tokenizer=tokenizer)
            elif folder.exists():
                corpus = Corpus.open(folder, tokenizer=tokenizer)
            else:
                corpus = build_corpus([stage.text], folder, tokenizer, max_bytes=stage.text_bytes)
        return CorpusStream(
            corpus, self.recipe.seed, max_document_tokens=stage.document_tokens, held_out_every=stage.held_out_every, held_out=held_out
        )

    def _distilled(self, stage: Distil, policy: Policy) -> Demonstrations:
        """The policy's own verified rollouts on training problems, written once as shards with their provenance."""
        folder = self.files.folder / "data" / stage.name
        if not distributed.from_first(folder.exists):
            _log.info("%s: answering %d problems", stage.name, stage.problems)
            tasks = self.world.tasks("train", seed=step_seed(self.recipe.seed, DISTIL_KEY), n=stage.problems)
            rollouts = self.sampler(policy).collect(
                self.world.environment, tasks, group_size=stage.samples_per_problem, temperature=stage.temperature, max_tokens=stage.max_tokens,
                key=(self.recipe.seed, DISTIL_KEY),
            )  # fmt: skip
            provenance = {"recipe": self.recipe.name, "stage": stage.name, "start": stage.start, "seed": self.recipe.seed, "attempts": len(rollouts)}
            options: dict[str, Any] = {"min_reward": stage.min_reward, "drop_thoughts": not stage.keep_thoughts, "provenance": provenance}
            distributed.by_first(write_distilled)(rollouts, folder, self.tokenizer, **options)
        return Demonstrations.open(folder)

    def evaluate(self, stage: Stage, policy: Policy, step: int, tokens: int, *, final: bool) -> None:
        """Measures a policy on held-out tasks (or against opponents) and appends the figures to evaluations.jsonl."""
        config = self.recipe.evaluation
        sampler = self.sampler(policy)
        where = {"policy": stage.label, "stage": stage.name, "step": step, "tokens": tokens, "control": stage.control, "final": final}
        if self.preferences is not None:
            self.preferences.measure(stage, policy, where)
            return
        if self.world.is_game:
            self._play_opponents(stage, sampler, where)
            return
        tasks = self.world.held_out(config.problems if final else config.curve_problems)
        for i, temperature in enumerate(config.temperatures if final else config.temperatures[:1]):
            result = evaluate(sampler, self.world.environment, tasks, temperature=temperature, key=(self.recipe.seed, EVALUATION_KEY + i),
                              max_tokens=config.max_tokens, kind_of=self.world.kind_of)  # fmt: skip
            transfer = {}
            if i == 0 and config.transfer_problems:
                others = self.world.transfer_tasks(config.transfer_problems)
                transfer = {"transfer": evaluate(sampler, self.world.environment, others, temperature=temperature, max_tokens=config.max_tokens,
                                                 key=(self.recipe.seed, TRANSFER_KEY), kind_of=self.world.kind_of).by_operation}  # fmt: skip
            self.files.add_evaluation(**where, temperature=temperature, **asdict(result), **transfer)
        if final:
            self._add_transcripts(stage, sampler)
            if config.pass_at:
                self._measure_attempts(stage, sampler)

    def _measure_attempts(self, stage: Stage, sampler: Sampler) -> None:
        """pass@k of a stage's policy, over all kinds and for each, trained on or not; written to pass_at_k.json."""
        config, path = self.recipe.evaluation, self.files.folder / "pass_at_k.json"
        rows = [row for row in distributed.from_first(lambda: read_json(path, [])) if row["stage"] != stage.name]
        held_out, others = self.world.held_out(config.pass_at_problems), self.world.transfer_tasks(config.pass_at_problems)
        for transfer, tasks in ((False, held_out), (True, others)):
            if not len(tasks):
                continue
            result = attempt(sampler, self.world.environment, tasks, samples=config.samples, temperature=1.0, max_tokens=config.max_tokens,
                             key=(self.recipe.seed, ATTEMPTS_KEY + transfer), kind_of=self.world.kind_of)  # fmt: skip
            kinds = sorted(set(result.kinds))
            for kind in (None, *kinds) if len(kinds) > 1 else (None,):
                counted = sum(kind in (None, own) for own in result.kinds)
                rows.append({
                    "policy": stage.label, "stage": stage.name, "control": stage.control, "kind": kind or "", "transfer": transfer,
                    "problems": counted, "samples": result.samples, "pass_at": {str(k): list(result.pass_at(k, kind)) for k in config.pass_at},
                })  # fmt: skip
        write_json(path, rows)

    def _play_opponents(self, stage: Stage, sampler: Sampler, where: dict[str, Any]) -> None:
        """Matches against each opponent that is there by now; after a stage, the first game of the last match is kept to be shown."""
        config = self.recipe.evaluation
        assert isinstance(self.world, World)
        final = where["final"]
        last = None
        for number, name in enumerate(config.opponents):
            earlier = name == "uniform" or name == "demonstrator" or (name != stage.name and self.files.finished(name) is not None)
            if not earlier:
                continue
            openings = self.world.match_openings((config.problems if final else config.curve_problems) // 2)
            for i, temperature in enumerate(config.temperatures if final else config.temperatures[:1]):
                match = play_match(sampler, self.world.environment, self._opponent(name), openings, temperature=temperature,
                                   key=(self.recipe.seed, EVALUATION_KEY + 16 * number + i))  # fmt: skip
                self.files.add_evaluation(**where, opponent=name, temperature=temperature, problems=match.games, correct=match.wins + match.draws / 2,
                                          wins=match.wins, draws=match.draws, losses=match.losses)  # fmt: skip
                last = (name, match.first_game) if i == 0 else last
        if final and last is not None:
            name, (opening, moves, score) = last
            path = self.files.folder / "games.json"
            others = [game for game in read_json(path, []) if game["stage"] != stage.name]
            shown = {"moves": (opening + moves).decode("ascii"), "opening": len(opening), "seat": 0, "score": score}
            write_json(path, [*others, {"stage": stage.name, "opponent": name, **shown}])

    def _opponent(self, name: str) -> Any:
        if name == "uniform":
            assert isinstance(self.world, World)
            return self.world.environment.uniform_player()
        return self.world.demonstrator if name == "demonstrator" else self.sampler(self.load_policy(name))

    def _add_transcripts(self, stage: Stage, sampler: Sampler) -> None:
        """Answers the fixed held-out problems that are shown after every stage: one, or one of each kind of a mixture."""
        tasks = self.world.shown_tasks()
        answers = sampler.collect(self.world.environment, tasks, group_size=1, temperature=1.0, key=(self.recipe.seed, EVALUATION_KEY),
                                  max_tokens=self.recipe.evaluation.max_tokens)  # fmt: skip
        path = self.files.folder / "transcripts.json"
        shown = [t for t in read_json(path, []) if t["stage"] != stage.name]
        shown += [
            {"stage": stage.name, "control": stage.control, "problem": self.world.describe(answer.task), "correct": answer.reward >= CORRECT,
             "tokens": transcript(answer, self.world.environment, self.tokenizer)}
            for answer in answers
        ]  # fmt: skip
        write_json(path, shown)

    def measure_recovery(self) -> None:
        """Success after a forced wrong token, for each policy that the recipe names; written to recovery.json."""
        config, path = self.recipe.evaluation, self.files.folder / "recovery.json"
        measured = distributed.from_first(lambda: read_json(path, []))
        for name in config.recovery:
            label = self.recipe.stage(name).label
            if any(entry["policy"] == label for entry in measured):
                continue
            result = recover(self.sampler(self.load_policy(name)), self.world.environment, self.world.held_out(config.recovery_problems),
                             key=(self.recipe.seed, RECOVERY_KEY), max_tokens=config.max_tokens)  # fmt: skip
            measured.append({"policy": label} | asdict(result))
            write_json(path, measured)
        self._spend()


def apply(learner: Learner, update: Update) -> dict[str, Any]:
    """One optimizer step over an update's batches, or none where no row carries weight; what it returns stays on the device."""
    metrics = [
        learner.forward_backward(batch, part.objective, teacher=part.teacher, divergence=part.divergence)
        for part in update.parts
        for batch in part.batches
    ]
    if not metrics:
        return {}
    row = reduce_metrics(distributed.per_rank(metrics))
    return row | {"train/grad_norm": learner.step(), "train/learning_rate": learner.optimizer.param_groups[0]["lr"]}
