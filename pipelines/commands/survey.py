"""The command `lossmap survey`."""

from typing import Annotated

import typer

from lossmap.components.core.errors import ExperimentError
from lossmap.pipelines.commands.options import Sets, Store, Tracking, settings_of


def survey(  # noqa: PLR0913  # the options of the command
    *,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODULE:FACTORY", help="function or class that returns the network"),
    ] = None,
    arguments: Annotated[
        str,
        typer.Option("--factory-arguments", metavar="JSON", help="its keyword arguments, as a JSON object"),
    ] = "{}",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="FILE[:KEY]",
            help=(
                ".safetensors, or what torch.save wrote; path or s3:// URI; a key chooses one of several sets"
                " of weights, such as state_dict_ema"
            ),
        ),
    ] = None,
    checkpoints: Annotated[
        list[str] | None,
        typer.Option(
            "--checkpoints",
            metavar="[LABEL=]FILE[:KEY]...",
            help=(
                "of its training, in order: files, folders or patterns; the plane is that of their path; a"
                " label begins another path, such as sgd=sgd/ adam=adam/"
            ),
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="images: cifar10 …, folder, zip; tensors: .safetensors, .npz, .npy,.npy, .pt, .csv, .tsv",
        ),
    ] = None,
    loss: Annotated[
        str, typer.Option("--loss", metavar="NAME", help="cross-entropy, mse, or package.module:function")
    ] = "cross-entropy",
    sets: Sets = None,
    name: Annotated[str | None, typer.Option("--name", help="of the run; without it the factory's")] = None,
    study: Annotated[
        str, typer.Option("--study", help="the MLflow experiment in which the run is compared")
    ] = "lossmap",
    prove: Annotated[
        bool,
        typer.Option(
            "--prove-invariance",
            help="rescale the network, tell what each normalisation makes of it, and end",
        ),
    ] = False,
    of_run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="with --prove-invariance: the network of this run"),
    ] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="go on with a survey that was interrupted")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="with --prove-invariance: print JSON")] = False,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Survey a network that lossmap did not train, or prove what rescaling it does to the pictures."""
    from lossmap.pipelines import local
    from lossmap.pipelines.screens.console import progress_bar, run_experiment, show_runs
    from lossmap.pipelines.screens.proof import proof_json, show_proof
    from lossmap.pipelines.survey import Network, imported_experiment, prove_invariance

    if [model, resume, of_run].count(None) != 2:
        raise ExperimentError(
            "survey takes --model with --data, or --resume RUN, or --run RUN with --prove-invariance; see"
            " `lossmap survey --help`"
        )
    if (of_run or as_json) and not prove:
        raise ExperimentError(
            "--run and --json are for --prove-invariance, expected that too; to go on with a run, give"
            " --resume RUN"
        )
    if not model and (weights or checkpoints or data or sets or name):
        raise ExperimentError(
            "a run that has begun keeps its network, its data and its settings; start a new one with --model"
        )
    settings = settings_of(store, tracking)
    if model:
        if not data:
            raise ExperimentError(
                "--data is missing, expected where the samples come from: cifar10, a folder or zip of images,"
                " or a file of tensors such as .npz or .csv"
            )
        network = Network(model, arguments, weights, loss, checkpoints or [])
        experiment = imported_experiment(network, data, study, name, sets or [])
        run = local.open_run(local.new_name(experiment), settings)
    else:
        run = local.open_run(resume or of_run or "", settings)
        experiment = run.experiment
    if prove:
        proof = prove_invariance(run, experiment, progress_bar)
        if as_json:
            typer.echo(proof_json(proof, run.name))
        else:
            show_proof(proof, run.name)
    else:
        run_experiment(run, experiment, settings)
        show_runs([run], settings)
