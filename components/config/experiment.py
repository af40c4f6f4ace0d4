"""One frozen object describes a run: its data, its model, its training, and the survey of its loss surface."""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lossmap.components.config.errors import ExperimentError

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="lower-case letters, digits and dashes")]


class Frozen(BaseModel):
    """A pydantic model that cannot be changed and refuses fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class Blobs(Frozen):
    """Synthetic images: one random pattern for each class, and Gaussian noise around it."""

    classes: Annotated[int, Field(ge=2)] = 4
    train_per_class: PositiveInt = 200
    test_per_class: PositiveInt = 50
    image_size: PositiveInt = 8
    noise: PositiveFloat = Field(0.25, description="standard deviation of the noise, as a share of the pixel range")


TENSOR_FILES = (".safetensors", ".npz")
IN_PROCESS = "in process"  # where a network, a loss or tensors were handed over in Python


class Data(Frozen):
    """Where the samples come from and how many of them are used. A file of tensors is for imported networks."""

    source: str = Field(
        "digits",
        min_length=1,
        description="digits, cifar10, cifar100, fashion-mnist, blobs, or the path or s3:// URI of a folder or zip of images, or of a .safetensors or .npz "
        "file with inputs and targets (and test_inputs and test_targets)",
    )
    limit: PositiveInt | None = Field(None, description="training samples to keep, the same number of each class where possible")
    test_limit: PositiveInt | None = Field(None, description="test samples to keep, likewise")
    image_size: PositiveInt | None = Field(None, description="resize every image to this many pixels a side; without it images of mixed sizes are refused")
    mean: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = Field(
        None, description="by channel, of pixels in [0, 1]: what a published network was trained with, in place of the measured mean"
    )
    deviation: tuple[PositiveFloat, ...] | None = Field(None, description="likewise, the standard deviation")
    blobs: Blobs = Blobs()
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _normalisation_is_whole(self) -> Self:
        mean, deviation = (None if values is None else len(values) for values in (self.mean, self.deviation))
        if mean != deviation or mean == 0:
            raise ValueError(f"mean is {self.mean} and deviation is {self.deviation}, expected one number for each channel in both, or neither")
        return self

    @property
    def holds_tensors(self) -> bool:
        """Whether the source is a file of tensors, or tensors that were handed over in Python, and not of images."""
        return self.source == IN_PROCESS or self.source.lower().endswith(TENSOR_FILES)


class Linear(Frozen):
    """Softmax regression: logits = W x + b. Its cross-entropy is convex in (W, b)."""

    architecture: Literal["linear"] = "linear"
    seed: NonNegativeInt = 0


class Mlp(Frozen):
    """A multi-layer perceptron with rectified linear units."""

    architecture: Literal["mlp"] = "mlp"
    hidden: tuple[PositiveInt, ...] = Field((128, 128), min_length=1)
    seed: NonNegativeInt = 0


class ResNet(Frozen):
    """The CIFAR residual network of He et al. 2016, with or without its shortcuts."""

    architecture: Literal["resnet"] = "resnet"
    depth: PositiveInt = Field(20, description="6n + 2 layers: 20, 32, 44, 56 or 110 in the paper")
    shortcuts: bool = True
    shortcut_option: Literal["A", "B"] = Field("A", description="where the shape changes: A pads with zeros, B projects by a 1x1 convolution")
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _depth_is_possible(self) -> Self:
        if self.depth < 8 or (self.depth - 2) % 6:
            raise ValueError(f"depth is {self.depth}, expected 6n + 2 with n >= 1, for example 20, 32, 44, 56 or 110")
        return self


class Imported(Frozen):
    """A network that lossmap did not train: what a function of the user's returns, with the weights of a file."""

    architecture: Literal["imported"] = "imported"
    factory: str = Field(
        IN_PROCESS,
        description="package.module:function, which returns the network, or its class; `in process` where the network itself was handed over in Python",
    )
    arguments: dict[str, JsonValue] = Field({}, description="keyword arguments of the factory")
    loss: str = Field("cross-entropy", min_length=1, description="cross-entropy, mse, or package.module:function of outputs and targets")
    weights: str | None = Field(None, description="path or s3:// URI of .safetensors, or of what torch.save writes; without it the factory's own weights")
    weights_sha256: str | None = Field(None, description="of the content of that file; noted when the run is made")
    source_sha256: str | None = Field(None, description="of the Python file in which the factory is; noted when the run is made")
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _factory_can_be_found(self) -> Self:
        module, colon, function = self.factory.partition(":")
        parts = [*module.split("."), *function.split(".")] if colon else []
        if not self.in_process and not (parts and all(part.isidentifier() for part in parts)):
            raise ValueError(f"factory is {self.factory!r}, expected package.module:function, for example torchvision.models:resnet18")
        return self

    @property
    def in_process(self) -> bool:
        """Whether the network was handed over in Python, so that no other process can make it."""
        return self.factory.startswith(IN_PROCESS)


Model = Annotated[Linear | Mlp | ResNet | Imported, Field(discriminator="architecture")]


class Optimizer(Frozen):
    """Stochastic gradient descent or Adam, as in torch.optim."""

    algorithm: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: PositiveFloat = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = Field(0.0, description="on every parameter, as in He et al.")

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov is true and momentum is 0, expected a momentum above 0")
        return self


class Schedule(Frozen):
    """The factor on the learning rate, as a function of the epoch (fractional: it moves at every step)."""

    shape: Literal["constant", "step", "cosine"] = "cosine"
    warmup_epochs: NonNegativeFloat = Field(0.0, description="the rate rises linearly over these epochs")
    milestones: tuple[PositiveFloat, ...] = Field((), description="epochs at which a step schedule multiplies the rate by decay")
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _milestones_fit_the_shape(self) -> Self:
        if (self.shape == "step") != bool(self.milestones):
            raise ValueError(f"shape is {self.shape} and milestones are {list(self.milestones)}, expected milestones with shape step and with no other")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones are {list(self.milestones)}, expected them rising")
        return self


class Augmentation(Frozen):
    """Random changes of the training images."""

    crop_padding: NonNegativeInt = Field(0, description="pad by this many zero pixels, then crop back at a random place")
    flip: bool = Field(False, description="mirror left and right with probability one half")


class Training(Frozen):
    """How the network is trained, by how many processes."""

    epochs: PositiveInt = 10
    batch_size: PositiveInt = Field(128, description="images in a global batch, over all processes together")
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    gradient_clip: PositiveFloat | None = Field(None, description="largest Euclidean norm of the whole gradient")
    precision: Literal["float32", "bfloat16", "float16"] = Field("float32", description="of the forward and backward pass; weights stay float32")
    channels_last: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: PositiveInt = Field(2, description="data-parallel processes, each with the same share of every batch")
    threads: PositiveInt = Field(1, description="CPU threads of each process; the number is part of the result's last bits")
    checkpoint_seconds: NonNegativeFloat = Field(60.0, description="least time between two checkpoints; 0 saves after every step")
    trajectory_every: PositiveInt = Field(1, description="epochs between two stored snapshots of the weights")
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _batch_is_divisible(self) -> Self:
        if self.batch_size % self.processes:
            raise ValueError(f"batch_size is {self.batch_size}, expected a multiple of processes ({self.processes})")
        return self


class Axis(Frozen):
    """Evenly spaced coordinates along one direction, both ends included."""

    low: float = -1.0
    high: float = 1.0
    points: Annotated[int, Field(ge=2)] = 41

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}, expected low < high")
        return self


class Plane(Frozen):
    """A grid over two directions."""

    x: Axis = Axis()
    y: Axis = Axis()


Normalization = Literal["filter", "layer", "model", "element", "neuron", "none"]


class Adaptive(Frozen):
    """Evaluate few points of the plane, and more of them where the surface cannot be interpolated well."""

    tolerance: PositiveFloat = Field(0.01, description="largest error of interpolation, as a share of the range of the losses on the plane")
    scale: Literal["log", "linear"] = Field("log", description="what is interpolated, and whose range the tolerance is a share of: the loss or its logarithm")
    spacing: Annotated[int, Field(ge=2)] = Field(8, description="grid steps between the first points")
    held_out: PositiveInt = Field(60, description="points drawn at random at the end, on which the bound is verified")


class Curvature(Frozen):
    """Second derivatives of the loss at the trained network, BatchNorm's statistics frozen."""

    samples: PositiveInt = Field(128, description="of the survey's samples, on which curvature is measured")
    top: PositiveInt = Field(1, description="greatest eigenvalues of the Hessian")
    bottom: PositiveInt = Field(1, description="least eigenvalues of the Hessian")
    tolerance: PositiveFloat = Field(0.01, description="of an eigenvalue, relative to the greatest in absolute value")
    trace_products: PositiveInt = Field(30, description="Hessian-vector products for the trace, of the whole and by layer; 4 at least")
    density_probes: NonNegativeInt = Field(0, description="random vectors for the spectral density; 0: no density")
    density_steps: PositiveInt = Field(30, description="Lanczos steps for each of them")
    gauss_newton: bool = Field(False, description="the greatest eigenvalue and the trace of the Gauss-Newton matrix and of the Fisher matrix, too")
    sharpness_radii: tuple[PositiveFloat, ...] = Field((), description="radii of the worst and average case sharpness; empty: none")


class Convexity(Frozen):
    """The least and the greatest eigenvalue of the Hessian at every point of a grid on the plane."""

    plane: Plane = Plane(x=Axis(points=11), y=Axis(points=11))
    samples: PositiveInt = Field(128, description="of the survey's samples")
    tolerance: PositiveFloat = Field(0.05, description="of an eigenvalue, relative to the greatest in absolute value")


class Landscape(Frozen):
    """The survey: loss(w + x d1 + y d2) on a plane, and along a line of its first direction."""

    directions: Literal["random", "networks", "trajectory", "hessian", "gradient"] = Field(
        "random",
        description="random; to the networks of other runs; the two principal components of the trajectory; the Hessian's eigenvectors of the two "
        "greatest eigenvalues; the gradient and a random direction",
    )
    networks: Annotated[tuple[str, ...], Field(max_length=2)] = Field((), description="runs whose networks lie at (1, 0) and (0, 1), for directions=networks")
    pairs: PositiveInt = Field(1, description="pairs of random directions; the first is drawn, and all together tell how much a measure depends on the pair")
    normalization: Normalization = Field(
        "filter", description="of the directions; model where they are eigenvectors or the gradient, none where they lead to networks or along the trajectory"
    )
    ignore_bias_and_norm: bool = Field(True, description="leave biases and BatchNorm parameters where they are, as in Li et al. 2018")
    plane: Plane = Plane()
    adaptive: Adaptive | None = Field(None, description="evaluate only as many of the plane's points as interpolation needs")
    line: Axis | None = Axis(points=101)
    split: Literal["train", "test"] = "train"
    samples: PositiveInt = Field(512, description="samples on which every point is evaluated, the same for all points")
    batch_norm: Literal["frozen", "reestimated", "coordinates"] = Field(
        "frozen", description="the trained network's statistics, those of the samples at each point, or moved along with the weights"
    )
    curvature: Curvature | None = None
    convexity: Convexity | None = None
    basin_thresholds: tuple[PositiveFloat, ...] = Field((), description="losses below which the area of the basin is measured, besides that of guessing")
    batch_size: PositiveInt = Field(64, description="samples that go through the network at a time; small batches stay in a CPU's cache")
    device: Literal["cpu", "cuda"] = Field("cpu", description="what evaluates the points; part of the result's last bits")
    tile_points: PositiveInt = Field(48, description="points in one tile, the unit of parallel work and of resuming")
    workers: PositiveInt | None = Field(None, description="processes that evaluate tiles; every core without it; never changes a result")
    seed: NonNegativeInt = 0

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_normalization(cls, values: Any) -> Any:
        return {**scaling(values.get("directions", "random")), **values} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _directions_are_possible(self) -> Self:
        if (self.directions == "networks") != bool(self.networks):
            raise ValueError(
                f"directions is {self.directions} and networks are {list(self.networks)}, expected one or two runs with networks and none otherwise"
            )
        if self.directions in _BETWEEN and (self.normalization != "none" or self.ignore_bias_and_norm):
            raise ValueError(
                f"directions is {self.directions} and normalization is {self.normalization}, expected normalization none and ignore_bias_and_norm false"
            )
        if self.batch_norm == "coordinates" and self.directions not in _BETWEEN:
            raise ValueError(
                f"batch_norm is coordinates and directions is {self.directions}, expected networks or trajectory: only there have points statistics"
            )
        if self.pairs > 1 and self.directions != "random":
            raise ValueError(f"pairs is {self.pairs} and directions is {self.directions}, expected random directions, or one pair")
        return self


def scaling(directions: Any) -> dict[str, Any]:
    """How directions of a kind are scaled, and how many pairs of them there are, where nothing else is asked for."""
    if directions == "random":
        return {"normalization": "filter", "ignore_bias_and_norm": True}
    return {"normalization": "none" if directions in _BETWEEN else "model", "ignore_bias_and_norm": False, "pairs": 1}


_BETWEEN = ("networks", "trajectory")


Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$", description="a Kubernetes quantity, such as 500m or 2Gi")]


class Resources(Frozen):
    """What one pod requests of its node, and is limited to."""

    cpu: Quantity = "500m"
    cpu_limit: Quantity | None = Field(None, description="how much of an idle node's CPU a pod may take; without it what it requests, a core at least")
    memory: Quantity = "2Gi"

    @property
    def most_cpu(self) -> str:
        """The limit of a pod's CPU."""
        less_than_one = self.cpu.endswith("m") and float(self.cpu.removesuffix("m")) < 1000
        return self.cpu_limit or ("1" if less_than_one else self.cpu)


class Toleration(Frozen):
    """A taint of nodes that the pods tolerate."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


_GPU_PROFILE = {
    "training": {"cpu": "8", "memory": "32Gi"},
    "survey": {"cpu": "4", "memory": "16Gi"},
    "shared_memory": "8Gi",
    "tolerations": ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
}


class Cluster(Frozen):
    """What a run asks of a Kubernetes cluster. On a laptop it means nothing, and no number depends on it.

    The profile gpu gives every training process one GPU, and every survey pod one where landscape.device is cuda.
    """

    profile: Literal["cpu", "gpu"] = Field("cpu", description="where the other fields' defaults come from")
    nodes: PositiveInt | None = Field(None, description="training pods, with the same number of processes each; without it one a process (cpu) or one (gpu)")
    least_nodes: PositiveInt | None = Field(None, description="go on with as few training pods as this when others are lost (elastic); the bits then differ")
    training: Resources = Field(Resources(), description="of each training pod")
    survey: Resources = Field(Resources(), description="of each survey pod; landscape.workers processes in it, one a core without that")
    steps: Resources = Field(Resources(cpu="200m"), description="of every other step's pod")
    survey_pods: PositiveInt = Field(2, description="pods that evaluate tiles at the same time")
    gpu_resource: str = Field("nvidia.com/gpu", description="what the nodes call a GPU")
    shared_memory: Quantity = Field("256Mi", description="size of /dev/shm in a training pod, out of its memory")
    node_selector: dict[str, str] = Field({}, description="labels of the nodes for training and survey")
    tolerations: tuple[Toleration, ...] = Field((), description="of training and survey pods")
    queue: str | None = Field(None, description="Kueue's local queue for the training job")
    priority_class: str | None = Field(None, description="of the training pods")
    restarts: NonNegativeInt = Field(3, description="how often lost training pods are replaced before training fails")
    start_minutes: PositiveFloat = Field(30.0, description="how long training pods may wait for nodes and images; time in a queue does not count")
    hours: PositiveFloat = Field(24.0, description="after which a training job is stopped")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_profile(cls, values: Any) -> Any:
        return {**_GPU_PROFILE, **values} if isinstance(values, dict) and values.get("profile") == "gpu" else values

    @model_validator(mode="after")
    def _least_is_not_most(self) -> Self:
        if self.least_nodes and self.least_nodes > (self.nodes or 0):
            raise ValueError(f"least_nodes is {self.least_nodes}, expected at most nodes ({self.nodes})")
        return self


class Experiment(Frozen):
    """A complete description of a run. The same experiment gives the same numbers."""

    name: Name = "experiment"
    study: Name = Field("lossmap", description="the MLflow experiment in which the run is compared")
    data: Data = Data()
    model: Model = ResNet()
    training: Training | None = Field(Training(), description="null exactly where the model is imported")
    landscape: Landscape = Landscape()
    cluster: Cluster = Cluster()

    @model_validator(mode="before")
    @classmethod
    def _an_imported_network_is_not_trained(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "training" in values:
            return values
        model = values.get("model")
        architecture = model.get("architecture") if isinstance(model, dict) else getattr(model, "architecture", None)
        return {**values, "training": None} if architecture == "imported" else values

    @model_validator(mode="after")
    def _only_other_networks_are_trained(self) -> Self:
        if isinstance(self.model, Imported) and self.training:
            raise ValueError("model.architecture is imported and training has settings, expected training: null, since an imported network is not trained")
        if not isinstance(self.model, Imported) and not self.training:
            raise ValueError(f"training is null and model.architecture is {self.model.architecture}, expected settings: only imported networks are not trained")
        if not isinstance(self.model, Imported) and self.data.holds_tensors:
            raise ValueError(
                f"data.source is {self.data.source!r}, a file of tensors, and model.architecture is {self.model.architecture}, "
                "expected images: only imported networks take tensors"
            )
        return self

    @model_validator(mode="after")
    def _processes_fit_the_nodes(self) -> Self:
        if not self.training:
            return self
        nodes, processes, batch = self.cluster.nodes or 1, self.training.processes, self.training.batch_size
        if processes % nodes:
            raise ValueError(f"cluster.nodes is {nodes}, expected a divisor of training.processes ({processes})")
        for fewer in range(self.cluster.least_nodes or nodes, nodes):
            if batch % (processes // nodes * fewer):
                raise ValueError(f"training.batch_size is {batch}, expected a multiple of the {processes // nodes * fewer} processes on {fewer} nodes")
        return self

    @property
    def nodes(self) -> int:
        """Number of training pods on a cluster; 0 where nothing is trained."""
        if not self.training:
            return 0
        return self.cluster.nodes or (1 if self.cluster.profile == "gpu" else self.training.processes)

    @property
    def loss(self) -> str:
        """Name of the loss that is surveyed."""
        return self.model.loss if isinstance(self.model, Imported) else "cross-entropy"

    @property
    def in_process(self) -> bool:
        """Whether the network was handed over in Python, so that no other process can make it."""
        return isinstance(self.model, Imported) and self.model.in_process

    @property
    def trained(self) -> Training:
        """How the network is trained.

        Raises:
            ExperimentError: it is imported.
        """
        if not self.training:
            raise ExperimentError(f"the network of {self.name} is imported, expected one that lossmap trains")
        return self.training

    def canonical_json(self) -> str:
        """The experiment as JSON with sorted keys and no white space: equal experiments, equal text."""
        return canonical_json(self.model_dump(mode="json"))

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def to_yaml(self) -> str:
        """The experiment as YAML, fields in their own order."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space; NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
