"""What a recipe about preferences must say, and what makes no sense in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from paradigm.config import ConfigError
from paradigm.reward_stage import Reward
from paradigm.rl_stage import RL
from paradigm.stages import Distil, Imitate, Pretrain

if TYPE_CHECKING:
    from paradigm.recipe import Recipe


def check_preferences(recipe: Recipe, where: str) -> None:
    """Raises: ConfigError naming the key, the rule and the value."""
    about, data = recipe.world.kind == "preferences", recipe.data
    for name, value in (("data.pairs", data.pairs), ("data.vocabulary", data.vocabulary), ("evaluation.gold", recipe.evaluation.gold)):
        if value and not about:
            raise ConfigError(f"{where}.{name} must be left out where the world is {recipe.world.kind!r}, got {value!r}")
    if data.vocabulary and recipe.initial:
        raise ConfigError(f"{where}.data.vocabulary must be 0 with initial, whose tokenizer is taken, got {data.vocabulary}")
    if data.vocabulary and recipe.policy is not None and recipe.policy.vocab_size < data.vocabulary:
        raise ConfigError(f"{where}.policy.vocab_size must be at least data.vocabulary = {data.vocabulary}, got {recipe.policy.vocab_size}")
    scorers = [stage.name for stage in recipe.stages if isinstance(stage, Reward)]
    held_out = [stage.name for stage in recipe.stages if isinstance(stage, Pretrain) and stage.held_out_every]
    for key, value, known in (("gold", recipe.evaluation.gold, scorers), ("text_of", recipe.evaluation.text_of, held_out)):
        if value and value not in known:
            what = "a reward stage" if key == "gold" else "a pretrain stage with held_out_every"
            raise ConfigError(f"{where}.evaluation.{key} must name {what} ({', '.join(known) or 'there is none'}), got {value!r}")
    longest = recipe.world.max_prompt_tokens + recipe.world.max_action_tokens
    limits = {"evaluation.max_tokens": recipe.evaluation.max_tokens}
    limits |= {f"{stage.name}.max_tokens": stage.max_tokens for stage in recipe.stages if isinstance(stage, RL)}
    limits |= {"policy.max_position_embeddings": recipe.policy.max_position_embeddings} if recipe.policy is not None else {}
    for name, limit in limits.items() if about else ():
        if limit < longest:
            raise ConfigError(f"{where}.{name} must hold the world's max_prompt_tokens + max_action_tokens = {longest}, got {limit}")
    for number, stage in enumerate(recipe.stages):
        if isinstance(stage, Reward | Distil) and about != isinstance(stage, Reward):
            if about:
                raise ConfigError(f"{where} must not have a stage of kind 'distil', which needs verdicts, got {stage.name!r}")
            raise ConfigError(f"{where} must have a world of kind 'preferences' for a reward stage, got {stage.name!r}")
        if isinstance(stage, Imitate) and stage.filtered and about:
            raise ConfigError(f"{where}.{stage.name}.filtered must be false where the world is 'preferences', which has no verdicts, got true")
        if isinstance(stage, RL):
            own = f"{where}.{stage.name}"
            earlier = [s.name for s in recipe.stages[:number] if isinstance(s, Reward)]
            fits = stage.reward_of in earlier or (stage.reward_of != "" and (Path(stage.reward_of) / "config.json").is_file())
            if about and not fits:
                known_earlier = ", ".join(earlier) or "none yet"
                raise ConfigError(
                    f"{own}.reward_of must name an earlier reward stage ({known_earlier}) or a folder with a reward model, got "
                    f"{stage.reward_of!r}"
                )
            if about and stage.drop_solved:
                raise ConfigError(f"{own}.drop_solved must be 0 with a reward model, by which nothing is solved, got {stage.drop_solved}")
            if not about and stage.reward_of:
                raise ConfigError(f"{own}.reward_of must be left out where the world is {recipe.world.kind!r}, got {stage.reward_of!r}")
        if isinstance(stage, Pretrain) and stage.width > 1 and recipe.initial:
            raise ConfigError(f"{where}.{stage.name}.width must be 1 with initial, got {stage.width}")
