"""The place of every object in the store, decided here and nowhere else.

datasets/<digest>/manifest.json, train-00000.safetensors, …     digest = content
trainings/<address>/task.json                                   address = data + model + training + software
trainings/<address>/checkpoints/step-00001234/…, LATEST
trainings/<address>/trajectory/00012.safetensors                weights after epoch 12; 00000 is the start
trainings/<address>/trajectory-1/00012.safetensors              the second path of an imported network
trainings/<address>/epochs/00012.json                           metrics of epoch 12
trainings/<address>/launcher                                    changes as long as somebody waits for it
trainings/<address>/weights.safetensors, training.json          the trained network: ends training
surveys/<address>/plan.json                                     address = training + landscape + software
surfaces/<digest>/directions.safetensors, tiles/<digest>.npz    digest = weights + data + evaluation
surfaces/<digest>/samples.safetensors                           digest = data + how they are drawn
surfaces/<digest>/grids/<digest>.npz                            a grid assembled from tiles
runs/<run>/experiment.json
runs/<run>/dataset.json                                         the manifest of the run's data set
runs/<run>/links.json                                           addresses of its training and survey
runs/<run>/report/…
comparisons/<digest>/page.html, comparison.png                  digest = names of the runs
pages/plotly-<version>.js                                       what light pages share
paths/<address>/state.safetensors, alignment.json               a network made of two: address = trainings +
                                                                alignment or curve + software
paths/<address>/profile.npz                                     address = trainings + path + evaluation +
                                                                software
connections/<digest>/connection.json, page.html, …              digest = names of the runs + settings +
                                                                addresses of the paths
connections/<digest>/matrix.json, page.html, matrix.png         of several networks; digest = their labels +
                                                                those of the pairs
studies/<name>/results.json, page.html, …                       written anew when more runs are finished
studies/<name>/connections/<digest>.json                        barriers between two of its runs
"""

MANIFEST = "manifest.json"


def dataset(digest: str, name: str = MANIFEST) -> str:
    """An object of a packed data set."""
    return f"datasets/{digest}/{name}"


def dataset_shard(digest: str, split: str, index: int) -> str:
    """One shard of a packed data set."""
    return dataset(digest, f"{split}-{index:05d}.safetensors")


def run(run_name: str, name: str) -> str:
    """An object of a run, by its name within the run."""
    return f"runs/{run_name}/{name}"


def experiment(run_name: str) -> str:
    """The experiment that the run carries out."""
    return run(run_name, "experiment.json")


def run_dataset(run_name: str) -> str:
    """The manifest of the run's data set."""
    return run(run_name, "dataset.json")


def links(run_name: str) -> str:
    """Which training and which survey are the run's."""
    return run(run_name, "links.json")


def training(address: str, name: str) -> str:
    """An object of a training, by its name within the training."""
    return f"trainings/{address}/{name}"


def training_computation(address: str) -> str:
    """What is trained, on what, and how."""
    return training(address, "task.json")


def checkpoint(address: str, step: int, name: str) -> str:
    """An object of the checkpoint after `step` optimiser steps."""
    return training(address, f"checkpoints/step-{step:08d}/{name}")


def latest_checkpoint(address: str) -> str:
    """The object that names the newest whole checkpoint."""
    return training(address, "checkpoints/LATEST")


def snapshots(address: str, path: int = 0) -> str:
    """The prefix of all snapshots of the weights; of an imported network, of one of several paths."""
    return training(address, f"trajectory-{path}/" if path else "trajectory/")


def snapshot(address: str, epoch: int, path: int = 0) -> str:
    """The weights after `epoch` epochs; of an imported network, in the checkpoint of that number."""
    return f"{snapshots(address, path)}{epoch:05d}.safetensors"


def epochs(address: str) -> str:
    """The prefix of all epochs' metrics."""
    return training(address, "epochs/")


def epoch_metrics(address: str, epoch: int) -> str:
    """The metrics of one epoch."""
    return f"{epochs(address)}{epoch:05d}.json"


def launcher(address: str) -> str:
    """The sign of life of whoever waits for a training on a cluster."""
    return training(address, "launcher")


def weights(address: str) -> str:
    """The trained weights."""
    return training(address, "weights.safetensors")


def sample_losses(address: str) -> str:
    """What each sample adds to an imported network's loss, by its split."""
    return training(address, "losses.safetensors")


def training_result(address: str) -> str:
    """The metrics of the trained network; written last, so that its presence means that training is
    complete.
    """
    return training(address, "training.json")


def survey_plan(address: str) -> str:
    """The plan of a survey: its surface and its tiles."""
    return f"surveys/{address}/plan.json"


def report(run_name: str, name: str) -> str:
    """A file of the run's report."""
    return run(run_name, f"report/{name}")


def scalars(run_name: str) -> str:
    """All scalars of the run's report; written last."""
    return report(run_name, "scalars.json")


def directions(surface: str) -> str:
    """The directions that span a surface."""
    return f"surfaces/{surface}/directions.safetensors"


def samples(digest: str) -> str:
    """The samples on which surfaces are evaluated, as they were packed."""
    return f"surfaces/{digest}/samples.safetensors"


def tiles(surface: str) -> str:
    """The prefix of all tiles of a surface."""
    return f"surfaces/{surface}/tiles/"


def tile(surface: str, digest: str) -> str:
    """One evaluated tile."""
    return f"{tiles(surface)}{digest}.npz"


def grid(surface: str, digest: str) -> str:
    """A grid assembled from tiles."""
    return f"surfaces/{surface}/grids/{digest}.npz"


def page_script(version: str) -> str:
    """The script that light pages share."""
    return f"pages/plotly-{version}.js"


def comparison(digest: str, name: str) -> str:
    """A file of a comparison of runs."""
    return f"comparisons/{digest}/{name}"


def path(address: str, name: str) -> str:
    """An object of a path between two networks, by its name within the path."""
    return f"paths/{address}/{name}"


def path_profile(address: str) -> str:
    """Loss and error along a path; written last, so that its presence means that the path is walked."""
    return path(address, "profile.npz")


def connection(digest: str, name: str) -> str:
    """A file about the connection of two runs."""
    return f"connections/{digest}/{name}"


def connection_result(digest: str) -> str:
    """Everything that was found about the connection of two runs; written last."""
    return connection(digest, "connection.json")


def study(study_name: str, name: str) -> str:
    """A file of a study's report."""
    return f"studies/{study_name}/{name}"
