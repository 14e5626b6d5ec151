"""A file of preference pairs that follow a rule which a tiny model can learn, and a recipe on them."""

import json
import random
from pathlib import Path
from typing import Any

from paradigm.recipe import Recipe, decode_recipe

POLICY = {"vocab_size": 272, "hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 64, "max_position_embeddings": 96}


def write_pairs(path: Path, n: int = 120) -> Path:
    """The preferred answer ends in an exclamation mark, the other in a full stop."""
    draw = random.Random(0)
    words = ["tea", "rain", "moss", "salt", "wool", "lamp"]
    rows = []
    for i in range(n):
        asked, answer = f"{draw.choice(words)} {i}?", draw.choice(words)
        rows.append({"chosen": f"\n\nHuman: {asked}\n\nAssistant: {answer}!", "rejected": f"\n\nHuman: {asked}\n\nAssistant: {answer}."})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def preference_recipe(folder: Path, *stages: dict[str, Any], n: int = 120, **values: Any) -> Recipe:
    """`stages` on pairs and a text that are written into `folder`."""
    pairs = write_pairs(folder / "pairs.jsonl", n)
    return decode_recipe({
        "name": "preferences", "slots": 16, "policy": POLICY, "data": {"pairs": str(pairs)},
        "world": {"kind": "preferences", "max_prompt_tokens": 32, "max_action_tokens": 12},
        "evaluation": {"problems": 40, "curve_problems": 20, "max_tokens": 48}, "stages": list(stages), **values,
    })  # fmt: skip
