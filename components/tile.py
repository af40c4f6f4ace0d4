"""Step 4, once for each share: evaluate tiles of the surface."""

from kfp import dsl


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def tile(share: str) -> None:
    """Evaluate a share of the tiles; what fails is left to the merge.

    Args:
        share: which, as planned.
    """
    from lossmap.components import pods

    pods.tile(share)
