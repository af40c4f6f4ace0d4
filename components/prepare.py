"""Step 1: pack the data set."""

from kfp import dsl


@dsl.component(base_image="lossmap:dev", install_kfp_package=False)
def prepare(run: str, experiment: str) -> str:
    """Keep the experiment and pack its data set in the store.

    Args:
        run: name of the run.
        experiment: the experiment as JSON.

    Returns:
        Digest of the data set.
    """
    from lossmap.components import steps
    from lossmap.components.config.experiment import Experiment
    from lossmap.components.config.progress import Printed
    from lossmap.components.config.settings import Settings

    return steps.prepare(run, Experiment.model_validate_json(experiment), Settings(), Printed("prepare"))
