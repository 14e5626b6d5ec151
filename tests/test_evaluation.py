"""What evaluations ask of a sampler and make of its rollouts; the worlds and samplers themselves are tested apart."""

import copy

import numpy as np

from paradigm.evaluation import falsify, recover
from paradigm.world import World, WorldConfig

WORLD = World(WorldConfig(kind="arithmetic", operations="+-", digits=3, error_rate=0.0), seed=0)


class Demonstrator:
    """Collects right demonstrations of the world; where a token was forced on every third of them, wrong ones."""

    def __init__(self, rows: int):
        self.buffer, self.forced = WORLD.demonstrations(rows), None

    def collect(self, environment, tasks, *, forced=None, **options):
        self.forced = self.forced if forced is None else forced
        rollouts, ends = copy.copy(self.buffer), self.buffer.offsets[1:] - 1
        rollouts.rewards = np.zeros(rollouts.num_tokens, np.float32)
        rollouts.rewards[ends] = 1.0
        if forced is not None:
            rollouts.rewards[ends[list(forced)[::3]]] = 0.0
        return rollouts


def test_one_digit_of_a_rollouts_own_results_is_falsified() -> None:
    rollouts = WORLD.demonstrations(50)
    forced = falsify(WORLD.environment, rollouts, np.random.default_rng(0))
    assert sorted(forced) == rollouts.index.tolist()
    steps = set()
    for row, trajectory in enumerate(rollouts):
        ((after, (digit,)),) = forced[int(rollouts.index[row])]
        at = np.flatnonzero(trajectory.action_mask)[after]
        places = WORLD.environment.result_positions(trajectory.tokens)
        assert at in places and digit in WORLD.environment.digit_tokens and digit != trajectory.tokens[at]
        steps.add(int(np.argwhere(places == at)[0, 0]))
    assert len(steps) > 2  # not always the same step
    again = falsify(WORLD.environment, rollouts, np.random.default_rng(0))
    assert again == forced != falsify(WORLD.environment, rollouts, np.random.default_rng(1))


def test_rollouts_without_a_result_of_their_own_are_left_alone() -> None:
    rollouts = WORLD.demonstrations(4)
    rollouts.action_mask = np.zeros_like(rollouts.action_mask)
    assert falsify(WORLD.environment, rollouts, np.random.default_rng(0)) == {}


def test_recovery_counts_the_same_problems_with_and_without_the_error() -> None:
    sampler = Demonstrator(30)
    result = recover(sampler, WORLD.environment, range(30), key=(0, 1))  # type: ignore[arg-type]
    assert (result.problems, result.undisturbed_correct, result.forced_correct) == (30, 30, 20)
    assert sampler.forced is not None and len(sampler.forced) == 30
