"""Step 4, once for each share: evaluate tiles of the surface."""

from kfp import dsl


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def tile(share: str, survey: str, software: str) -> None:
    """Evaluate a share of the tiles.

    Args:
        share: which, as planned.
        survey: address of the survey; with `share` and `software` it decides whether Kubeflow's cache answers.
        software: digest of what is installed.
    """
    from lossmap.components import pods

    pods.tile(share)
