"""Step 5: assemble the surface."""

from kfp import dsl


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def merge(survey: str = "", software: str = "") -> None:
    """Assemble the grids from the tiles; what is missing or damaged, because a pod was lost, is evaluated
    here.

    Args:
        survey: address of the survey; with `software` it decides whether Kubeflow's cache answers.
        software: digest of what is installed.
    """
    from lossmap.components import pods

    pods.merge()
