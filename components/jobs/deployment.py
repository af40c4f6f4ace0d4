"""Names of what `k8s/` puts into the namespace in which pipelines run; whoever speaks to Kubernetes refers
to them.
"""

CONFIG_MAP = "lossmap"
IMAGE_KEY = "LOSSMAP_IMAGE"  # for `lossmap submit`; a step's own environment says it already
CONFIG_KEYS = ("LOSSMAP_STORE", "LOSSMAP_TRACKING", "AWS_DEFAULT_REGION")
OPTIONAL_CONFIG_KEYS = (
    "LOSSMAP_PIPELINES_PAGE",
    "AWS_ENDPOINT_URL",  # Amazon's S3 needs none
    "AWS_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "MLFLOW_S3_ENDPOINT_URL",
    "MLFLOW_S3_UPLOAD_EXTRA_ARGS",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
FILES, FILES_PATH = "lossmap-files", "/etc/lossmap"  # a ConfigMap of files for every pod, if there is one
STORE_SECRET = "lossmap-object-store"  # not where a role of the accounts gives the keys
STORE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
DATA_SECRET = "lossmap-data"  # only where images and weights are in another S3 than the store
DATA_KEYS = tuple(
    f"LOSSMAP_DATA_AWS_{name}"
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "ENDPOINT_URL", "DEFAULT_REGION")
)
TRACKING_SECRET = "lossmap-mlflow"  # only where MLflow asks who is there
TRACKING_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
STEPS_ACCOUNT = "lossmap-run"
TRAINING_ACCOUNT = "lossmap-training"
PIPELINE_RUN_LABEL = "pipeline/runid"  # Kubeflow's own, on every pod of a run
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"  # Kueue's own, on jobs and pods that are to wait their turn
# Said by every step around what it says itself, in a log that is mostly Kubeflow's.
STEP_BEGINS, STEP_ENDS = "lossmap begins", "lossmap ends"


def of_pipeline_run(pipeline_run: str) -> str:
    """The label selector of everything that belongs to a run of Kubeflow Pipelines."""
    return f"{PIPELINE_RUN_LABEL}={pipeline_run}"
