"""What a recipe says of its world reaches the environment."""

import pytest

from paradigm.config import ConfigError
from paradigm.recipe import decode_recipe
from paradigm.world import World, WorldConfig

POLICY = {"vocab_size": 272, "hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 64}


def test_products_have_the_digits_that_the_recipe_names() -> None:
    recipe = decode_recipe({"name": "r", "policy": POLICY, "world": {"digits": 3, "products": [[2, 2]]}, "stages": [{"kind": "imitate"}]})
    tasks = World(recipe.world, seed=0).tasks("train", seed=0, n=400)
    factors = [task.split("*") for task in tasks if "*" in task]
    assert len(factors) == 100 and all(len(factor) == 2 for pair in factors for factor in pair)
    assert any(len(task.split("+")[0]) == 3 for task in tasks if "+" in task), "sums keep their own digits"
    by_default, in_words = WorldConfig(digits=3), WorldConfig(digits=3, products=((3, 1), (2, 2)))
    assert World(by_default, seed=0).tasks("train", seed=0, n=40) == World(in_words, seed=0).tasks("train", seed=0, n=40)


def test_products_that_are_no_pairs_of_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"products\[0\]"):
        decode_recipe({"name": "r", "policy": POLICY, "world": {"products": [2]}, "stages": [{"kind": "imitate"}]})
