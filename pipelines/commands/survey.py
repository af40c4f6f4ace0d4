"""The command `lossmap survey`."""

from dataclasses import replace
from typing import Annotated

import typer

from lossmap.components.core.errors import ExperimentError
from lossmap.pipelines.commands.options import (
    Arguments,
    Loss,
    Model,
    Sets,
    Source,
    Store,
    Study,
    Tracking,
    settings_of,
)

_MOST_NETWORKS = 2


def survey(  # noqa: PLR0913  # the options of the command
    *,
    model: Model = None,
    arguments: Arguments = "{}",
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
    networks: Annotated[
        list[str] | None,
        typer.Option(
            "--networks",
            metavar="FILE[:KEY]...",
            help="one or two other files of its weights: the plane goes through them, at (1, 0) and (0, 1)",
        ),
    ] = None,
    data: Source = None,
    loss: Loss = "cross-entropy",
    sets: Sets = None,
    name: Annotated[str | None, typer.Option("--name", help="of the run; without it the factory's")] = None,
    study: Study = "lossmap",
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
    from lossmap.components.importing.places import weight_files
    from lossmap.pipelines import local
    from lossmap.pipelines.screens.console import progress_bar, run_experiment, show_runs
    from lossmap.pipelines.screens.proof import proof_json, show_proof
    from lossmap.pipelines.survey import (
        Network,
        imported_experiment,
        imported_experiments,
        imported_run,
        prove_invariance,
    )

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
    if not model and (weights or checkpoints or networks or data or sets or name):
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
        others = weight_files(networks or [])
        if len(others) > _MOST_NETWORKS:
            raise ExperimentError(
                f"--networks are {len(others)} files ({', '.join(others)}), expected one or two: three"
                " networks make a plane; the barriers between more: lossmap connect --model … FILE FILE FILE"
            )
        plain = replace(network, checkpoints=())
        fields = [each for each in sets or [] if each.startswith(("data.", "model."))]
        through = [
            imported_run(other, settings, progress_bar)
            for other in imported_experiments(plain, others, data, study, fields)
        ]
        experiment = imported_experiment(network, data, study, name, sets or [], through)
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
