"""Meta-World's environments as frisket steps them give what the package's own give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from frisket.envs.robots.meta_world import full_name, kinds, ready
from frisket.envs.robots.quicker import quaternion, quicker
from frisket.envs.robots.sequences import CW10

pytestmark = pytest.mark.filterwarnings("ignore:Constant")  # the package's policies, of themselves
EPISODES, STEPS = 10, 200
_HALF_TURNS = ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1])
_HALF_TURNS = ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1])


def driven(task: str, episodes: int) -> tuple[float, int]:
    """Greatest difference between both over ``episodes`` in which the package's own policy acts, with noise; and at how
    many steps the task was solved."""
    from metaworld.policies import ENV_POLICY_MAP

    kind = kinds()[full_name(task)]
    theirs, ours, worst, solved = ready(kind()), ready(quicker(kind)()), 0.0, 0
    assert type(ours).touching_object is not type(theirs).touching_object
    policy, draws = ENV_POLICY_MAP[full_name(task)](), np.random.default_rng(0)
    for episode in range(episodes):
        for body in (theirs, ours):
            body.seed(episode)
        seen, found = theirs.reset()[0], ours.reset()[0]
        worst = max(worst, float(np.abs(seen - found).max()))
        for _ in range(STEPS):
            action = np.clip(policy.get_action(seen) + 0.1 * draws.standard_normal(4), -1, 1)
            (seen, reward, *_, said), (found, own, *_, told) = theirs.step(action), ours.step(action)
            worst = max(worst, float(np.abs(seen - found).max()), abs(float(reward) - float(own)))
            assert said["success"] == told["success"]
            assert said.keys() == told.keys()
            worst = max(worst, *(abs(float(said[k]) - float(told[k])) for k in said))
            solved += int(said["success"])
    return worst, solved


@pytest.mark.parametrize("task", ["push", "reach"])
def test_trajectories_are_the_packages(task: str) -> None:
    worst, solved = driven(task, EPISODES)
    assert worst < 1e-12
    assert solved > STEPS  # the hand had touched what it was to touch


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted({*CW10, "soccer", "coffee-pull", "door-open", "lever-pull", "stick-push"}))
def test_trajectories_of_other_tasks_are_the_packages(task: str) -> None:
    assert driven(task, 3)[0] < 1e-12


def test_quaternions_are_scipys_signs_and_all() -> None:
    draws = np.random.default_rng(0)
    turns = np.concatenate(
        [Rotation.random(200, rng=draws).as_matrix(), [np.diag(d) for d in _HALF_TURNS], [np.eye(3)]]
    )
    for turn in turns:
        assert np.abs(quaternion(turn) - Rotation.from_matrix(turn).as_quat()).max() < 1e-15
