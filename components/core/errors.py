"""What can go wrong and is not a defect of lossmap.

LossmapError              one line: the value, what was expected, what to do next; exit code 1
├── ExperimentError       an experiment that cannot be run as it is written (exit code 2: usage)
├── DataError             the data set is not what it has to be
├── StoreError            an object is missing, damaged, or out of reach
├── TrackingError         MLflow is out of reach or refuses
├── TrainingError         training failed or diverged
│   └── TrainingKilled    a training process was killed; to go on from the last checkpoint helps
├── ClusterError          Kubernetes or Kubeflow Pipelines is out of reach, refuses, or a run there failed
└── Interrupted           asked to stop; what is finished is kept (exit code 130)
"""

from lossmap.components.core.secrets import public_line


class LossmapError(Exception):
    """An error whose message is for the user: one line, no traceback, no secret, whatever it quotes."""

    exit_code = 1

    def __init__(self, message: str):
        super().__init__(public_line(message))


class ExperimentError(LossmapError):
    """An experiment that cannot be run as it is written."""

    exit_code = 2


class DataError(LossmapError):
    """The data set is not what it has to be."""


class StoreError(LossmapError):
    """An object is missing, damaged, or out of reach."""


class TrackingError(LossmapError):
    """MLflow is out of reach or refuses; what the store holds is complete."""


class TrainingError(LossmapError):
    """Training failed or diverged."""


class TrainingKilled(TrainingError):
    """A training process was killed; to go on from the last checkpoint helps."""


class ClusterError(LossmapError):
    """Kubernetes or Kubeflow Pipelines is out of reach, refuses, or a run there failed."""


class Interrupted(LossmapError):
    """The user asked to stop; what is finished is kept."""

    exit_code = 130
