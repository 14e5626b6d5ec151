"""A recipe is a list of stages over one policy and one world, read from a TOML file; see `paradigm.recipe_run` for what running it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paradigm import config as configuration
from paradigm.config import ConfigError
from paradigm.policy import PolicyConfig
from paradigm.preference_recipe import check_preferences
from paradigm.stage import Stage
from paradigm.stages import LABELS, STAGES, Pretrain
from paradigm.world import WorldConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """path: a JSONL file of problems, for worlds that read one. pairs: a JSONL file of preference pairs, for worlds of kind "preferences".

    vocabulary: learn a byte-level BPE of so many tokens, on the pairs' training split and the text of pretraining, and speak that; 0: bytes, or the
    tokenizer that comes with `initial`.
    """

    path: str = ""
    pairs: str = ""
    vocabulary: int = 0


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Held-out measurements after each stage.

    problems: how many. temperatures: of sampling, 0 is greedy. curve_problems: for points inside a stage. recovery: the stages whose
    policies are measured after a forced error, on recovery_problems each. opponents: for games, which problems then counts: "uniform",
    "demonstrator" or an earlier stage. pass_at: the k of pass@k, measured after each stage by `samples` attempts at temperature 1 at each of
    pass_at_problems problems (and as many of kinds that are never trained on); transfer_problems: of those, for every other measurement.
    max_tokens: the longest rollout. For preferences, where problems counts prompts, and pairs for reward models: gold, the reward stage whose scores
    no other stage trains on; text_tokens, how much of the text that the pretrain stage text_of holds out its loss is measured on (0: none).
    """

    problems: int = 1000
    temperatures: tuple[float, ...] = (1.0, 0.0)
    curve_problems: int = 200
    recovery: tuple[str, ...] = ()
    recovery_problems: int = 500
    opponents: tuple[str, ...] = ()
    pass_at: tuple[int, ...] = ()
    samples: int = 16
    pass_at_problems: int = 200
    transfer_problems: int = 0
    max_tokens: int = 256
    gold: str = ""
    text_of: str = ""
    text_tokens: int = 0

    def __post_init__(self) -> None:
        if bool(self.text_of) != (self.text_tokens > 0):
            raise ValueError(f"text_tokens must be > 0 where text_of names a stage and only there, got {self.text_tokens} with {self.text_of!r}")
        for k in self.pass_at:
            if not 1 <= k <= self.samples:
                raise ValueError(f"pass_at must be from 1 to the samples, {self.samples}, got {k}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run: a policy, a world, stages in order, and what is measured.

    dtype: of the weights and of training. slots: sequences sampled at once. memory_limit_gib: the most memory that a stage may plan to take, of the
    GPU or else of the host; 0: all there is. initial: a Hugging Face folder of weights that "scratch" stands for,
    whose tokenizer is taken too if it has one, or "smollm2", the SmolLM2-135M of the extra gguf; `policy` may then be left out.
    """

    name: str
    seed: int = 0
    dtype: str = "float32"
    slots: int = 256
    memory_limit_gib: float = 0.0
    initial: str = ""
    policy: PolicyConfig | None = None
    data: DataConfig = field(default_factory=DataConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        if not self.memory_limit_gib >= 0:
            raise ValueError(f"memory_limit_gib must be >= 0, got {self.memory_limit_gib}")
        if self.policy is None and not self.initial:
            raise ValueError("policy must be given where initial is not, got None")

    def stage(self, name: str) -> Stage:
        """Raises: ConfigError if there is no such stage."""
        found = next((stage for stage in self.stages if stage.name == name), None)
        if found is None:
            raise ConfigError(f"a stage {name!r} is asked for, and the stages are {', '.join(stage.name for stage in self.stages)}")
        return found

    def start_of(self, stage: Stage) -> str:
        """The stage that a stage starts from, or "scratch"."""
        if stage.start != "previous":
            return stage.start
        earlier = [s for s in self.stages[: self.stages.index(stage)] if not s.control and s.kind != "reward"]
        return earlier[-1].name if earlier else "scratch"


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe file. With `base = "other.toml"` it says only what differs from that recipe: values, options of a stage that bears the
    name of one there, and stages that come after those there.

    Raises: ConfigError naming the file, the key, the rule and the value.
    """
    path = Path(path)
    values = configuration.read_toml(path)
    if "base" in values:
        base = configuration.read_toml(path.parent / values.pop("base"))
        values = _based_on(base, values)
    return decode_recipe(configuration.apply_overrides(values, overrides), where=path.name)


def _based_on(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    def name(stage: dict[str, Any]) -> Any:
        return stage.get("name", stage.get("kind"))

    stages = {name(stage): stage for stage in base.get("stages", [])}
    new = []
    for stage in values.pop("stages", []):
        if name(stage) in stages:
            stages[name(stage)] |= stage
        else:
            new.append(stage)
    for key, value in values.items():
        base[key] = base[key] | value if isinstance(base.get(key), dict) and isinstance(value, dict) else value
    return base | {"stages": [*stages.values(), *new]}


def decode_recipe(values: dict[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from plain values; see `load_recipe`."""
    stages: list[Stage] = []
    for i, table in enumerate(values.get("stages", [])):
        table = dict(table)
        kind = table.pop("kind", None)
        if kind not in STAGES:
            raise ConfigError(f"{where}.stages[{i}].kind must be one of {', '.join(STAGES)}, got {kind!r}")
        named = table.get("name", kind)
        try:
            defaults = STAGES[kind].defaults(table)
        except ValueError as error:
            raise ConfigError(f"{where}.{named}: {error}") from error
        given = {"name": kind, "label": table.get("name", LABELS[kind])} | defaults | table
        stage = configuration.decode(STAGES[kind], given, f"{where}.{named}")
        earlier = [s.name for s in stages]
        if stage.name in earlier:
            raise ConfigError(f"{where}.stages[{i}].name must be unique, got {stage.name!r} twice")
        for key in ("start", "match_tokens_of", "teacher", "pretrain_of"):
            other = getattr(stage, key, "")
            if other not in ("", "previous", "scratch", *earlier):
                raise ConfigError(f"{where}.{stage.name}.{key} must name an earlier stage ({', '.join(earlier) or 'none yet'}), got {other!r}")
        mixed = getattr(stage, "pretrain_of", "")
        if mixed and not isinstance(stages[earlier.index(mixed)], Pretrain):
            raise ConfigError(f"{where}.{stage.name}.pretrain_of must name a pretrain stage, got {mixed!r}")
        stages.append(stage)
    if not stages:
        raise ConfigError(f"{where}.stages must hold at least one stage, got none")
    plain = {key: value for key, value in values.items() if key != "stages"}
    recipe = configuration.decode(Recipe, plain, where)
    if recipe.evaluation.recovery and recipe.world.kind != "arithmetic":
        raise ConfigError(f"{where}.evaluation.recovery must be empty where the world is {recipe.world.kind!r}, whose steps cannot be falsified")
    for stage in stages:
        errors = getattr(stage, "forced_errors", 0)
        if errors and recipe.world.kind != "arithmetic":
            rule = f"must be 0 where the world is {recipe.world.kind!r}, whose steps cannot be falsified"
            raise ConfigError(f"{where}.{stage.name}.forced_errors {rule}, got {errors}")
        for kind in getattr(stage, "kinds", {}):
            if kind not in recipe.world.trained_kinds:
                trained = ", ".join(recipe.world.trained_kinds) or "none"
                raise ConfigError(f"{where}.{stage.name}.kinds must name kinds of the world that are trained on ({trained}), got {kind!r}")
    recipe = dataclasses.replace(recipe, stages=tuple(stages))
    check_preferences(recipe, where)
    return recipe


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """The plain values of a recipe, every default filled in; `decode_recipe` reads them back."""
    values = configuration.encode(dataclasses.replace(recipe, stages=()))
    return values | {"stages": [{"kind": stage.kind} | configuration.encode(stage) for stage in recipe.stages]}
