"""Where things are: read from the environment (LOSSMAP_*), so that an experiment never has to say it."""

import os
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlparse

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

UNTRACKED = "none"  # in place of a tracking URI: nothing is told MLflow
_OF_MLFLOW = "MLFLOW_TRACKING_URI"


def passed_over() -> str:
    """What MLFLOW_TRACKING_URI says where no run can be logged, as `databricks`; else empty."""
    uri = os.environ.get(_OF_MLFLOW, "")
    return "" if uri.startswith(("http://", "https://", "sqlite:///")) else uri


class Settings(BaseSettings):
    """Places of this installation.

    Attributes:
        store: LOSSMAP_STORE, a file:// or s3:// URI; `lossmap-runs` in the current folder without it.
        tracking: LOSSMAP_TRACKING, an MLflow tracking URI, or MLFLOW_TRACKING_URI, which other programs read,
            too, where that is a server or sqlite; a sqlite database beside the store's objects without them;
            `none`: no MLflow.
        logs: LOSSMAP_LOGS, a folder for what the training processes print; beside the store's objects without
            it.
        run: LOSSMAP_RUN, the run that a step of a pipeline belongs to; `{pipeline}` in it stands for the
            first eight digits of the next.
        pipeline_run: LOSSMAP_PIPELINE_RUN, Kubeflow's id of the pipeline run that this process is a step of;
            empty on a laptop.
        image: LOSSMAP_IMAGE, the image of every pod that a pipeline starts; without it the one that the
            cluster's ConfigMap names.
        namespace: LOSSMAP_NAMESPACE, where pipelines run; without it that of the pod around this process, as
            of a notebook in a Kubeflow profile, or `kubeflow`.
        pipelines: LOSSMAP_PIPELINES, address of Kubeflow Pipelines' API; without it the Kubernetes API server
            leads there.
        pipelines_page: LOSSMAP_PIPELINES_PAGE, address of its pages, for links.

    LOSSMAP_DATA_AWS_… are read where S3 is spoken to: see `s3_client`.
    """

    model_config = SettingsConfigDict(env_prefix="LOSSMAP_", env_ignore_empty=True, frozen=True)

    store: str = Field(default_factory=lambda: Path("lossmap-runs").resolve().as_uri())
    tracking: str = ""
    logs: Path = Path()
    run: str = ""
    pipeline_run: str = ""
    image: str = ""
    namespace: str = Field(default_factory=lambda: _own_namespace() or "kubeflow")
    pipelines: str = ""
    pipelines_page: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        store = (
            self.store.rstrip("/")
            if "://" in self.store
            else Path(self.store).expanduser().resolve().as_uri()
        )
        folder = Path("lossmap-runs").resolve()
        if store.startswith("file:"):
            folder = Path(unquote(urlparse(store).path))
        object.__setattr__(self, "store", store)
        tracking = self.tracking or ("" if passed_over() else os.environ.get(_OF_MLFLOW, ""))
        object.__setattr__(self, "tracking", tracking or f"sqlite:///{folder / 'mlflow.db'}")
        object.__setattr__(self, "logs", self.logs if self.logs != Path() else folder / "logs")
        object.__setattr__(self, "run", self.run.replace("{pipeline}", self.pipeline_run[:8]))
        return self

    @property
    def tracks(self) -> bool:
        """Whether MLflow is told of runs."""
        return self.tracking != UNTRACKED

    def environment(self) -> dict[str, str]:
        """The variables that hand these settings to another process."""
        return {"LOSSMAP_STORE": self.store, "LOSSMAP_TRACKING": self.tracking}


def _own_namespace() -> str:
    """Of the pod around this process; empty on other machines."""
    file = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return file.read_text().strip() if file.is_file() else ""
