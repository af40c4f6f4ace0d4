"""Step 3: cut the survey into shares."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Input, Model


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def plan(landscape: str, training: str, software: str, pods: int, model: Input[Model]) -> NamedTuple(
    "Planned", [("survey", str), ("shares", list)]
):
    """Make the directions, cut the points that are still to be evaluated into tiles, and deal these out to
    pods.

    Args:
        landscape: the survey's settings as JSON.
        training: address of the training; with `landscape` and `software` it decides whether Kubeflow's cache
            answers.
        software: digest of what is installed.
        pods: how many pods there may be.
        model: the trained network.

    Returns:
        survey: address of the survey in the store.
        shares: one for each pod, such as 0/2 and 1/2.
    """
    from lossmap.components.pods import plan as plan_survey

    return plan_survey(pods)
