"""Step 2: train the network."""

from kfp import dsl


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def train(run: str) -> None:
    """Train the network by data-parallel processes.

    Args:
        run: name of the run.
    """
    from lossmap.components import steps
    from lossmap.components.config.progress import Printed
    from lossmap.components.config.settings import Settings

    settings = Settings()
    steps.train(run, settings, steps.locally(run, settings), Printed("train"))
