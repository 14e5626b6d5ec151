"""Rollouts shared out over ranks: the same ones, bit for bit, as one process's."""

import dataclasses

import numpy as np
import pytest

from paradigm import distributed
from paradigm.divided_sampler import DividedSampler
from paradigm.environments import Arithmetic, ConnectFour
from paradigm.policy import Policy, PolicyConfig
from paradigm.sampler import Sampler
from paradigm.trajectory import SCALAR_FIELDS, TOKEN_FIELDS
from tests.distributed_cases import run_ranks

CONFIG = PolicyConfig(vocab_size=272, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32, max_position_embeddings=96)
COUNTS = ("num_episodes", "num_failed", "tokens_sampled", "flops")


def collected(kind, num_tasks, sampler=DividedSampler):
    environment = ConnectFour() if kind == "connect_four" else Arithmetic()
    tasks = environment.tasks(3, num_tasks, plies=2) if kind == "connect_four" else environment.tasks(3, num_tasks, "train", operations="+", digits=1)
    if kind == "failures":
        tasks = ["no sum" if i % 3 == 1 else task for i, task in enumerate(tasks)]
    own = sampler(Policy(CONFIG, seed=1), slots=16)
    forced = {4: [(1, [50])]} if num_tasks > 2 else None
    opponents = {1: environment.uniform_player()} if kind == "connect_four" else {}
    buffer = own.collect(environment, tasks, group_size=3, key=(5, 7), max_tokens=60, forced=forced, opponents=opponents)
    fields = {name: getattr(buffer, name) for name in (*TOKEN_FIELDS, *SCALAR_FIELDS, "offsets") if name != "support"}
    legal = np.where((buffer.support >= 0)[:, None], buffer.support_table[np.maximum(buffer.support, 0)], 0) if len(buffer.support_table) else None
    about = (list(buffer.tasks), buffer.key, buffer.environment, buffer.extras)
    return fields, legal, about, {name: dataclasses.asdict(own.stats)[name] for name in COUNTS}


@pytest.mark.parametrize(("kind", "num_tasks", "world"), [("connect_four", 5, 3), ("failures", 4, 2), ("arithmetic", 1, 4)])
def test_rollouts_do_not_depend_on_the_number_of_ranks(kind, num_tasks, world) -> None:
    fields, legal, about, counts = collected(kind, num_tasks, Sampler)
    assert len(fields["index"]) == 3 * num_tasks and bool(about[3]) == (kind == "failures")
    for found_fields, found_legal, found_about, found_counts in run_ranks(world, collected, kind, num_tasks):
        for name, expected in fields.items():
            np.testing.assert_array_equal(found_fields[name], expected, err_msg=name)
        assert (legal is None and found_legal is None) or np.array_equal(legal, found_legal)
        assert found_about == about and found_counts == counts


def test_parts_of_a_collection_are_its_episodes() -> None:
    environment = Arithmetic()
    sampler, tasks = Sampler(Policy(CONFIG, seed=1), slots=16), environment.tasks(3, 4, "train", operations="+", digits=1)
    whole = sampler.collect(environment, tasks, group_size=3, key=(5, 7), max_tokens=60)
    part = sampler.collect(environment, tasks, group_size=3, key=(5, 7), max_tokens=60, episodes=(4, 9))
    assert part.index.tolist() == list(range(4, 9)) and part.group.tolist() == whole.group[4:9].tolist()
    assert np.array_equal(part.tokens, whole.tokens[whole.offsets[4] : whole.offsets[9]])
    assert len(sampler.collect(environment, tasks, group_size=3, episodes=(4, 4))) == 0
    with pytest.raises(ValueError, match="episodes must be a range within the 12 there are, got 4 to 13"):
        sampler.collect(environment, tasks, group_size=3, episodes=(4, 13))


def test_alone_it_is_a_sampler() -> None:
    assert distributed.world() == 1
    assert repr(collected("arithmetic", 3)) == repr(collected("arithmetic", 3, Sampler))
