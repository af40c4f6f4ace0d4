"""Step 5: assemble the surface."""

from kfp import dsl


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def merge(run: str) -> None:
    """Assemble the grids from the tiles; what is missing or damaged is evaluated again.

    Args:
        run: name of the run.
    """
    from lossmap.components import steps
    from lossmap.components.config.progress import Printed
    from lossmap.components.config.settings import Settings

    steps.merge(run, Settings(), Printed("merge"))
