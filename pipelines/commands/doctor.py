"""What is typed to look at an installation, and at MLflow."""

import json
from typing import Annotated

import typer

from lossmap.pipelines.commands.options import Store, Tracking, settings_of


def ui(
    port: Annotated[int, typer.Option(help="port on this machine")] = 5000,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    cluster: Annotated[
        bool, typer.Option("--cluster", help="the MLflow of the cluster that KUBECONFIG points at")
    ] = False,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Open the MLflow UI on the runs."""
    from lossmap.components.stores.tracking.client import serve_ui

    if cluster:
        from lossmap.pipelines.screens.cluster import serve_cluster_ui

        serve_cluster_ui(settings_of(store, tracking), port)
        return
    raise typer.Exit(serve_ui(settings_of(store, tracking).tracking, host, port))


def doctor(
    cluster: Annotated[
        bool,
        typer.Option("--cluster", help="check the cluster that KUBECONFIG points at instead of this machine"),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    store: Store = None,
    tracking: Tracking = None,
) -> None:
    """Check this installation: what is installed, cores, GPUs, what is reachable; or that of a cluster."""
    from lossmap.pipelines.cluster.doctor import examine_cluster
    from lossmap.pipelines.doctor import examine
    from lossmap.pipelines.screens.console import show_findings

    settings = settings_of(store, tracking)
    findings = examine_cluster(settings) if cluster else examine(settings.store, settings.tracking)
    if as_json:
        typer.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        show_findings(findings)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)
