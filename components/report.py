"""Step 6: pictures, page, scalars, MLflow."""

from kfp import dsl
from kfp.dsl import HTML, Metrics, Output


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def report(page: Output[HTML], metrics: Output[Metrics]) -> None:
    """Draw the pictures and the page, compute the scalars, and log the run to MLflow.

    Args:
        page: the report.
        metrics: what runs are compared by.
    """
    from lossmap.components import pods

    pods.report(page, metrics)
