"""What is taken off a reward."""

import numpy as np
import pytest

from paradigm.rewards import failing_nonfinite, overlong_penalty, penalized_rewards, with_rewards
from paradigm.trajectory import TrajectoryBuffer


def test_overlong_penalty_by_hand():
    # DAPO's numbers in thousands: expected 16, cache 4, maximum 20
    got = overlong_penalty([3, 16, 17, 19, 20, 25], max_length=20, margin=4)
    assert got.tolist() == [0, 0, -0.25, -0.75, -1, -1] and got.dtype == np.float32
    for margin in (0, 21):
        with pytest.raises(ValueError, match=rf"margin must be in \(0, max_length = 20\], got {margin}"):
            overlong_penalty([1], max_length=20, margin=margin)


@pytest.mark.parametrize(("estimator", "penalties"), [("k1", [1.0, -0.5]), ("k2", [0.5, 0.125]), ("k3", [np.exp(-1), np.exp(0.5) - 1.5])])
def test_penalty_for_leaving_the_reference_by_hand(estimator, penalties):
    # log-probs exceed the reference's by 1 and by -0.5 on the two action tokens
    buffer = TrajectoryBuffer.from_arrays(np.arange(4), [0, 4], action_mask=[0, 1, 0, 1], logprobs=[0, -1, 0, -2], rewards=[0, 0, 0, 1])
    got = penalized_rewards(buffer, np.array([9, -2, 9, -1.5], np.float32), 0.1, estimator)
    np.testing.assert_allclose(got, [0, -0.1 * penalties[0], 0, 1 - 0.1 * penalties[1]], rtol=1e-5)
    changed = with_rewards(buffer, got)
    assert changed.reward[0] == pytest.approx(got.sum()) and buffer.reward[0] == 1 and changed.tokens is buffer.tokens


def test_bad_arguments():
    buffer = TrajectoryBuffer.from_arrays(np.arange(4), [0, 4])
    with pytest.raises(ValueError, match="coefficient must be >= 0, got -1"):
        penalized_rewards(buffer, np.zeros(4, np.float32), -1)
    with pytest.raises(ValueError, match=r"reference_logprob must have shape \[4\], got \[3\]"):
        penalized_rewards(buffer, np.zeros(3, np.float32), 1)
    with pytest.raises(ValueError, match=r"rewards must have shape \[4\], got \[1\]"):
        with_rewards(buffer, np.zeros(1, np.float32))


def test_trajectories_without_finite_rewards_fail():
    buffer = TrajectoryBuffer.from_arrays(
        np.arange(8), [0, 2, 4, 6, 8], rewards=[1, np.nan, 3e38, 3e38, 0, 2, np.inf, -np.inf], failed=[0, 0, 0, 1], terminated=True, stop_reason=0
    )
    marked, count = failing_nonfinite(buffer)
    assert count == 2 and marked.failed.tolist() == [True, True, False, True] and marked.terminated.tolist() == [False, False, True, True]
    assert [t.stop_reason for t in marked] == ["failed", "failed", "terminated", "terminated"]
    assert marked.extras[1]["failure_reason"] == "reward" and 2 not in marked.extras and not buffer.extras and buffer.failed.sum() == 1
    assert failing_nonfinite(marked) == (marked, 0)
