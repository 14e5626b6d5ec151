import numpy as np
import pytest

from paradigm.advantage import SolvedTasks, batch_advantages, group_advantages, informative
from paradigm.trajectory import TrajectoryBuffer


def buffer_of(rewards, group, seat=0, failed=False):
    """One trajectory of two tokens per reward, which lies half on each token."""
    rewards = np.asarray(rewards, dtype=np.float32)
    offsets = np.arange(len(rewards) + 1) * 2
    return TrajectoryBuffer.from_arrays(
        np.zeros(len(rewards) * 2), offsets, rewards=np.repeat(rewards / 2, 2), group=np.asarray(group), seat=np.asarray(seat), failed=failed
    )


def test_by_hand():
    # group 0: mean 2, deviations -1 0 1, std sqrt(2 / 2) = 1; group 1: mean 3, deviations -3 3, std sqrt(18) = 3 sqrt(2)
    got = group_advantages(buffer_of([1, 0, 2, 6, 3], [0, 1, 0, 1, 0]), eps=0.0)
    np.testing.assert_allclose(got, [-1, -np.sqrt(0.5), 0, np.sqrt(0.5), 1], rtol=1e-6)
    assert got.dtype == np.float32


def test_without_standard_deviation_and_leave_one_out():
    rewards, group = [1.0, 2.0, 6.0], [7, 7, 7]
    np.testing.assert_allclose(group_advantages(buffer_of(rewards, group), normalize="none"), [-2, -1, 3], rtol=1e-6)
    # baselines are the means of the others: 4, 3.5, 1.5
    np.testing.assert_allclose(group_advantages(buffer_of(rewards, group), normalize="none", leave_one_out=True), [-3, -1.5, 4.5], rtol=1e-6)


def test_eps_is_added_to_the_standard_deviation():
    np.testing.assert_allclose(group_advantages(buffer_of([0, 2], [0, 0]), eps=1.0), [-1 / (np.sqrt(2) + 1), 1 / (np.sqrt(2) + 1)], rtol=1e-6)


def test_failed_ones_are_zero_and_count_for_nothing():
    got = group_advantages(buffer_of([1, 100, 3, 0], [0, 0, 0, 1], failed=np.array([False, True, False, True])), normalize="none")
    np.testing.assert_array_equal(got, [-1, 0, 1, 0])


@pytest.mark.parametrize("failed", [True, False])
@pytest.mark.parametrize("reward", [np.nan, np.inf, -np.inf, 6e38])
def test_rewards_that_are_not_finite_take_no_part(reward, failed, caplog):
    buffer = buffer_of([0, 1, 3], [0, 0, 0], failed=np.array([failed, False, False]))
    buffer.rewards[:2] = reward / 2  # of 6e38 both halves are finite
    np.testing.assert_array_equal(group_advantages(buffer, normalize="none"), [0, -1, 1])
    assert informative(buffer)[0].tolist() == [False, True, True]
    assert ("1 of 3 trajectories have no finite reward" in caplog.text) is not failed
    assert buffer.failed[0] == failed  # what the caller holds is not changed


def test_groups_of_one_and_groups_without_spread_are_exactly_zero():
    # three rewards of 0.1: their float mean need not be 0.1
    got = group_advantages(buffer_of([5, 0.1, 0.1, 0.1], [0, 1, 1, 1]), eps=0.0, leave_one_out=True)
    np.testing.assert_array_equal(got, np.zeros(4, np.float32))


def test_seats_are_compared_with_the_same_seat():
    rewards, group, seat = [1, -1, -1, 1, 1, -1], [0, 0, 0, 0, 0, 0], [0, 1, 0, 1, 0, 1]
    third = 1 / 3
    np.testing.assert_allclose(
        group_advantages(buffer_of(rewards, group, seat), normalize="none"), [2 * third, -2 * third, -4 * third, 4 * third, 2 * third, -2 * third],
        rtol=1e-6,
    )  # fmt: skip


def test_many_groups_against_a_plain_loop():
    generator = np.random.default_rng(3)
    n = 300
    rewards = generator.normal(size=n).astype(np.float32) * 2
    group, seat, failed = generator.integers(0, 40, n), generator.integers(0, 2, n), generator.random(n) < 0.2
    got = group_advantages(buffer_of(rewards, group, seat, failed))
    for i in range(n):
        peers = (group == group[i]) & (seat == seat[i]) & ~failed
        expected = 0.0
        if not failed[i] and peers.sum() > 1:
            members = rewards[peers].astype(np.float64)
            expected = (rewards[i] - members.mean()) / (members.std(ddof=1) + 1e-6)
        assert got[i] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_bad_arguments_and_an_empty_buffer():
    with pytest.raises(ValueError, match="normalize must be 'std', 'batch' or 'none', got 'mean'"):
        group_advantages(buffer_of([1], [0]), normalize="mean")
    with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
        group_advantages(buffer_of([1], [0]), eps=-1)
    assert group_advantages(buffer_of([], [])).shape == (0,)


def test_batch_normalisation_by_hand():
    # deviations -1 1 -3 3: variance 20 / 3; the third group has no spread but counts as a 0 each: over six, 20 / 5
    got = group_advantages(buffer_of([0, 2, 0, 6], [0, 0, 1, 1]), "batch", eps=0.0)
    np.testing.assert_allclose(got, np.array([-1, 1, -3, 3]) / np.sqrt(20 / 3), rtol=1e-6)
    got = group_advantages(buffer_of([0, 2, 0, 6, 1, 1], [0, 0, 1, 1, 2, 2]), "batch", eps=0.0)
    np.testing.assert_allclose(got, np.array([-1, 1, -3, 3, 0, 0]) / 2, rtol=1e-6)


def test_reinforce_plus_plus_by_hand():
    # rewards from each of the action tokens on: 3 2 | 1 1, mean 1.75, variance (1.5625 + 0.0625 + 2 * 0.5625) / 3
    buffer = TrajectoryBuffer.from_arrays(
        np.arange(9), [0, 3, 6, 9], action_mask=[0, 1, 1, 0, 1, 1, 0, 1, 0], rewards=[7, 1, 2, 0, 0, 1, 0, 50, 0], failed=[0, 0, 1]
    )
    std = np.sqrt(2.75 / 3)
    np.testing.assert_allclose(batch_advantages(buffer, eps=0.0), np.array([0, 1.25, 0.25, 0, -0.75, -0.75, 0, 0, 0]) / std, rtol=1e-6)
    assert not batch_advantages(buffer_of([1, 1], [0, 0])).any() and batch_advantages(buffer_of([], [])).shape == (0,)
    buffer.rewards[[1, 4]] = np.nan, 1  # two tokens are left, which earn 2 and 1
    np.testing.assert_allclose(batch_advantages(buffer, eps=0.0), np.array([0, 0, 0, 0, 1, -1, 0, 0, 0]) * np.sqrt(0.5), rtol=1e-6)


def test_groups_without_spread_are_counted():
    buffer = buffer_of([0, 1, 2, 2, 5, 0, 7], [0, 0, 1, 1, 2, 3, 3], failed=np.array([False] * 6 + [True]))
    kept, dropped = informative(buffer)
    assert kept.tolist() == [True, True] + [False] * 5 and dropped == 3
    assert informative(buffer_of([], []))[1] == 0


def test_solved_tasks_are_not_attempted_again():
    def rollouts(rewards, task, failed=False):
        buffer = buffer_of(rewards, task, failed=failed)
        buffer.task, buffer.tasks = np.asarray(task), [b"a", b"b", b"c"]
        return buffer

    solved = SolvedTasks(0.75)
    assert solved.update(rollouts([1, 1, 1, 0, 1, 0], [0, 0, 0, 0, 1, 1])) == 1
    assert solved.unsolved([b"c", b"a", b"b"]) == [b"c", b"b"]
    # a failed rollout does not count against the task
    assert solved.update(rollouts([1, 0], [2, 2], failed=np.array([False, True]))) == 1
    again = SolvedTasks(0.75)
    again.load_state_dict(solved.state_dict())
    assert again.unsolved([b"a", b"b", b"c"]) == [b"b"]
    with pytest.raises(ValueError, match=r"pass_rate must be in \(0, 1\], got 0"):
        SolvedTasks(0)
