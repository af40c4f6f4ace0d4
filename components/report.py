"""Step 6: pictures, page, scalars, MLflow."""

from kfp import dsl


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def report(run: str) -> None:
    """Draw the pictures and the page, compute the scalars, and log the run to MLflow.

    Args:
        run: name of the run.
    """
    from lossmap.components import steps
    from lossmap.components.config.progress import Printed
    from lossmap.components.config.settings import Settings

    steps.report(run, Settings(), Printed("report"))
