"""Names of what `k8s/` puts into the namespace in which pipelines run; whoever speaks to Kubernetes refers
to them.
"""

CONFIG_MAP = "lossmap"
IMAGE_KEY = "LOSSMAP_IMAGE"  # for `lossmap submit`; a step's own environment says it already
CONFIG_KEYS = ("LOSSMAP_STORE", "LOSSMAP_TRACKING", "AWS_DEFAULT_REGION")
OPTIONAL_CONFIG_KEYS = ("AWS_ENDPOINT_URL", "LOSSMAP_PIPELINES_PAGE")  # Amazon's S3 needs no address
STORE_SECRET = "lossmap-object-store"
STORE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
TRACKING_SECRET = "lossmap-mlflow"  # only where MLflow asks who is there
TRACKING_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
STEPS_ACCOUNT = "lossmap-run"
TRAINING_ACCOUNT = "lossmap-training"
PIPELINE_RUN_LABEL = "pipeline/runid"  # Kubeflow's own, on every pod of a run
USER = 1000
# Said by every step around what it says itself, in a log that is mostly Kubeflow's.
STEP_BEGINS, STEP_ENDS = "lossmap begins", "lossmap ends"


def of_pipeline_run(pipeline_run: str) -> str:
    """The label selector of everything that belongs to a run of Kubeflow Pipelines."""
    return f"{PIPELINE_RUN_LABEL}={pipeline_run}"
