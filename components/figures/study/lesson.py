"""The storyline of the lesson: what is said about each kind of network, and what to ask a class."""

from dataclasses import dataclass

from lossmap.components.config.experiment import Experiment


@dataclass(frozen=True)
class Chapter:
    """One step of the story. `architectures` are those of the networks that it shows; `compares` says what
    to look at.
    """

    title: str
    claim: str
    compares: str
    question: str
    architectures: tuple[str, ...]


CHAPTERS = (
    Chapter(
        "1. A linear model: the loss is a bowl",
        "The loss of a linear model is convex: every minimum is the global one, and going downhill finds it.",
        "Cross-entropy of a linear model is convex by proof: its Hessian is positive semidefinite everywhere."
        " What is measured here must agree, or the instrument is broken.",
        "Two seeds train the same linear model. Must they end at the same weights? At the same loss? What"
        " does weight decay change about your answer?",
        ("linear",),
    ),
    Chapter(
        "2. More realistic networks: not convex",
        "Realistic networks are nonlinear, more intricately connected, and have many more parameters; their"
        " loss is not convex.",
        "One hidden layer is enough: exchange two hidden neurons and the function stays the same, so minima"
        " come in many copies, and between copies the loss cannot be convex unless it is flat. A random slice"
        " may still look like a bowl.",
        "The picture of a network whose loss is not convex can look convex. Why is that no contradiction?"
        " Which measurement would convince you that it is not?",
        ("mlp", "vgg", "imported"),
    ),
    Chapter(
        "3. Deep residual networks, without and with skip connections",
        "Skip connections turn a chaotic loss into a smooth one (Li et al. 2018).",
        "The networks of a pair have the same layers; only the additions around them differ. Turn one surface"
        " and all turn. Heights and colours are the same for all.",
        "Is the difference larger than that between two seeds? Look at the intervals. What else than the skip"
        " connections could differ between the two networks of a pair, for example how well each is trained?",
        ("resnet", "preactivation-resnet", "wide-resnet"),
    ),
    Chapter(
        "4. More complex interconnection: DenseNet, mixture of experts, MultiModel",
        "The trend is to more complex interconnection and many more parameters.",
        "DenseNet connects each layer to all before it (Huang et al. 2017); a sparsely-gated mixture sends"
        " each sample to few of its experts (Shazeer et al. 2017); MultiModel learns several tasks in one"
        " body (Kaiser et al. 2017).",
        "A mixture of experts chooses the k best experts for each sample. What happens to the loss on the way"
        " between two choices? Where would you see that on the surface?",
        ("densenet", "mixture-of-experts", "multimodel"),
    ),
)
LAST_CHAPTER = Chapter(
    "5. Why do we find good local minima all the same?",
    "Although the loss is not convex, training succeeds in finding good local minima.",
    "If minima of different seeds have nearly the same loss, it does not matter which is found. If low paths"
    " join them, they may be one connected valley.",
    "Which observation would show that training does not always find a good minimum? Did you see one on this"
    " page?",
    (),
)
OPEN_QUESTIONS = (
    (
        "A slice through two random directions says little about all the others: training moves in directions"
        " that no random slice shows."
    ),
    (
        "Whether skip connections help because the surface is smoother, or the surface looks smoother because"
        " training went better, a picture does not tell."
    ),
    "That a path with a low loss joins two minima does not show that training could have taken it.",
    (
        "Low training loss is not low test loss: why minima that training finds also generalise is another"
        " question."
    ),
)


def shows(chapter: Chapter, experiment: Experiment) -> bool:
    """Whether the chapter shows the experiment's network."""
    return experiment.model.architecture in chapter.architectures
