"""Step 4, once for each tile: evaluate points of the surface."""

from kfp import dsl


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def tile(run: str, digest: str) -> None:
    """Evaluate one tile.

    Args:
        run: name of the run.
        digest: the tile, as planned.
    """
    from lossmap.components import steps
    from lossmap.components.config.progress import Printed
    from lossmap.components.config.settings import Settings

    steps.evaluate(run, [digest], Settings(), Printed("tile"))
