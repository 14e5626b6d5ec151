"""Recipes on disk: what a recipe that is based on another one changes."""

from pathlib import Path

import pytest

from paradigm.config import ConfigError
from paradigm.recipe import decode_recipe, load_recipe, recipe_values

RECIPES = Path(__file__).parents[1] / "recipes"


def test_a_recipe_on_a_base_says_only_what_differs(tmp_path: Path) -> None:
    base = load_recipe(RECIPES / "quickstart.toml")
    (tmp_path / "quickstart.toml").write_text((RECIPES / "quickstart.toml").read_text())
    path = tmp_path / "mine.toml"
    path.write_text(
        'base = "quickstart.toml"\nname = "mine"\n[world]\ndigits = 4\n'
        '[[stages]]\nkind = "rl"\nsteps = 7\n[[stages]]\nkind = "rl"\nname = "again"\nsteps = 9\n'
        '[[stages]]\nname = "continued"\nlearning_rate = 1e-3\n'
    )
    mine = load_recipe(path, ["rl.warmup_steps=3"])
    assert mine.name == "mine" and mine.world.digits == 4 and mine.world.products == base.world.products and mine.policy == base.policy
    assert [stage.name for stage in mine.stages] == [*(stage.name for stage in base.stages), "again"]
    assert (mine.stage("rl").steps, mine.stage("rl").warmup_steps, mine.stage("rl").label) == (7, 3, base.stage("rl").label)
    assert mine.stage("rl").learning_rate == base.stage("rl").learning_rate and mine.stage("again").steps == 9
    assert mine.stage("continued").learning_rate == 1e-3 and mine.stage("continued").match_tokens_of == "rl"
    path.write_text(path.read_text() + '[[stages]]\nkind = "rl"\nname = "again"\n')
    with pytest.raises(ConfigError, match="name must be unique, got 'again' twice"):
        load_recipe(path)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_that_ship_are_read(path: Path) -> None:
    assert load_recipe(path).name == path.stem


def test_the_values_of_a_recipe_hold_every_default() -> None:
    recipe = load_recipe(RECIPES / "quickstart.toml")
    values = recipe_values(recipe)
    assert values["slots"] == 256 and values["evaluation"]["opponents"] == [] and values["stages"][0]["max_grad_norm"] == 1.0
    assert decode_recipe(values) == recipe and recipe_values(decode_recipe(values)) == values
