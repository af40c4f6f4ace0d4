"""Step 3: cut the survey into tiles."""

from kfp import dsl


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def plan(run: str) -> list:  # type: ignore[type-arg]  # kfp knows no list[str]
    """Make the directions and cut the points that are still to be evaluated into tiles.

    Args:
        run: name of the run.

    Returns:
        Digests of the tiles.
    """
    from lossmap.components import steps
    from lossmap.components.config.settings import Settings

    return steps.plan(run, Settings())
