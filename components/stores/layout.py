"""The place of every object in the store, decided here and nowhere else.

datasets/<digest>/manifest.json, train-00000.safetensors, …       digest = content
runs/<run>/experiment.json
runs/<run>/dataset.json                                           the manifest of the run's data set
runs/<run>/checkpoints/step-00001234/…, LATEST
runs/<run>/trajectory/00012.safetensors                           weights after epoch 12; 00000 is the start
runs/<run>/epochs/00012.json                                      metrics of epoch 12
runs/<run>/weights.safetensors, training.json                     the trained network: its presence ends training
runs/<run>/survey.json                                            which surface and which grids belong to the run
runs/<run>/report/…
comparisons/<digest>/page.html, comparison.png                    digest = names of the runs
surfaces/<digest>/directions.safetensors, tiles/<digest>.npz      digest = weights + data + evaluation settings
surfaces/<digest>/grids/<digest>.npz                              a grid assembled from tiles
"""

MANIFEST = "manifest.json"


def dataset(digest: str, name: str = MANIFEST) -> str:
    """An object of a packed data set."""
    return f"datasets/{digest}/{name}"


def dataset_shard(digest: str, split: str, index: int) -> str:
    """One shard of a packed data set."""
    return dataset(digest, f"{split}-{index:05d}.safetensors")


def run(run_id: str, name: str) -> str:
    """An object of a run, by its name within the run."""
    return f"runs/{run_id}/{name}"


def experiment(run_id: str) -> str:
    """The experiment that the run carries out."""
    return run(run_id, "experiment.json")


def run_dataset(run_id: str) -> str:
    """The manifest of the run's data set."""
    return run(run_id, "dataset.json")


def checkpoint(run_id: str, step: int, name: str) -> str:
    """An object of the checkpoint after `step` optimiser steps."""
    return run(run_id, f"checkpoints/step-{step:08d}/{name}")


def latest_checkpoint(run_id: str) -> str:
    """The object that names the newest whole checkpoint."""
    return run(run_id, "checkpoints/LATEST")


def snapshot(run_id: str, epoch: int) -> str:
    """The weights after `epoch` epochs."""
    return run(run_id, f"trajectory/{epoch:05d}.safetensors")


def epoch_metrics(run_id: str, epoch: int) -> str:
    """The metrics of one epoch."""
    return run(run_id, f"epochs/{epoch:05d}.json")


def weights(run_id: str) -> str:
    """The trained weights."""
    return run(run_id, "weights.safetensors")


def training_result(run_id: str) -> str:
    """The metrics of the trained network; written last, so that its presence means that training is complete."""
    return run(run_id, "training.json")


def survey(run_id: str) -> str:
    """The plan of the run's survey."""
    return run(run_id, "survey.json")


def report(run_id: str, name: str) -> str:
    """A file of the run's report."""
    return run(run_id, f"report/{name}")


def scalars(run_id: str) -> str:
    """All scalars of the run's report; written last."""
    return report(run_id, "scalars.json")


def directions(surface: str) -> str:
    """The directions that span a surface."""
    return f"surfaces/{surface}/directions.safetensors"


def tiles(surface: str) -> str:
    """The prefix of all tiles of a surface."""
    return f"surfaces/{surface}/tiles/"


def tile(surface: str, digest: str) -> str:
    """One evaluated tile."""
    return f"{tiles(surface)}{digest}.npz"


def grid(surface: str, digest: str) -> str:
    """A grid assembled from tiles."""
    return f"surfaces/{surface}/grids/{digest}.npz"


def comparison(digest: str, name: str) -> str:
    """A file of a comparison of runs."""
    return f"comparisons/{digest}/{name}"
