"""Where things are: read from the environment (LOSSMAP_*), so that an experiment never has to say it."""

from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlparse

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

UNTRACKED = "none"  # in place of a tracking URI: nothing is told MLflow


class Settings(BaseSettings):
    """Places of this installation.

    Attributes:
        store: LOSSMAP_STORE, a file:// or s3:// URI; `lossmap-runs` in the current folder without it.
        tracking: LOSSMAP_TRACKING, an MLflow tracking URI; a sqlite database beside the store's objects
            without it; `none`: no MLflow.
        logs: LOSSMAP_LOGS, a folder for what the training processes print; beside the store's objects without
            it.
        run: LOSSMAP_RUN, the run that a step of a pipeline belongs to; `{pipeline}` in it stands for the
            first eight digits of the next.
        pipeline_run: LOSSMAP_PIPELINE_RUN, Kubeflow's id of the pipeline run that this process is a step of;
            empty on a laptop.
        image: LOSSMAP_IMAGE, the image of every pod that a pipeline starts; without it the one that the
            cluster's ConfigMap names.
        namespace: LOSSMAP_NAMESPACE, where pipelines run.
        pipelines: LOSSMAP_PIPELINES, address of Kubeflow Pipelines' API; without it the Kubernetes API server
            leads there.
        pipelines_page: LOSSMAP_PIPELINES_PAGE, address of its pages, for links.
    """

    model_config = SettingsConfigDict(env_prefix="LOSSMAP_", env_ignore_empty=True, frozen=True)

    store: str = Field(default_factory=lambda: Path("lossmap-runs").resolve().as_uri())
    tracking: str = ""
    logs: Path = Path()
    run: str = ""
    pipeline_run: str = ""
    image: str = ""
    namespace: str = "kubeflow"
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
        object.__setattr__(self, "tracking", self.tracking or f"sqlite:///{folder / 'mlflow.db'}")
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
