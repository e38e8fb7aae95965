"""`liftbench runs` and `liftbench sweep`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from typer.core import TyperGroup

from liftbench.bench.cli.common import (
    PLAIN,
    RECORDS,
    SYNTHETIC,
    Device,
    Records,
    Scan,
    Track,
    choose_device,
    out,
    progress,
    table,
)


class _ListsByDefault(TyperGroup):
    """`liftbench runs FOLDER` is `liftbench runs list FOLDER`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        known = args and args[0] in {*self.commands, "--help"}
        return super().parse_args(ctx, args if known else ["list", *args])


app = typer.Typer(cls=_ListsByDefault, help="List and compare training runs; `liftbench runs [FOLDER]` lists.")


@app.command("list")
def list_runs(folder: Annotated[Path, typer.Argument(help="The folder to search for runs.")] = Path("runs")):
    """List the runs in a folder: how far they are, their test MPJPE in mm, and why some failed.

    Example: `liftbench runs list runs`, or only `liftbench runs`
    """
    from liftbench.bench.runs import folders

    rows = table("run\nmodel, data", "state", "official\nMPJPE, mm", numbers=("last\nmm", "best\nmm", "clips\n/s"))
    reasons = []
    for run in folders.find(folder):
        recipe, official = run.recipe, [f"{found.mpjpe_mm:.1f} {found.data.name}" for found in run.accuracies]
        last, best, rate = (
            "-" if number is None else f"{number:.1f}" for number in (run.last_mm, run.best_mm, run.clips_per_s)
        )
        what = f"\n{recipe.entry.name}, {recipe.data} {recipe.input}" if recipe else ""
        epochs = f" {run.epochs}/{run.of_epochs}" if recipe else ""
        rows.add_row(
            _name(run.folder, folder) + what,
            f"{run.state}{epochs}\n{run.when:%Y-%m-%d %H:%M}",
            "\n".join(official) or "-",
            last,
            best,
            rate,
        )
        if run.reason:
            reasons.append(f"{_name(run.folder, folder)} {run.state}: {run.reason}")
    (out if out.is_terminal else Console(width=160, **PLAIN)).print(rows)  # whole words for a pipe
    for reason in reasons:
        out.print(reason, soft_wrap=True)


def _name(folder: Path, top: Path) -> str:
    return str(folder.relative_to(top)) if folder != top else str(folder)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A run folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    plot: Annotated[Path, typer.Option(help="Receives the curves of both, as PNG.")] = Path("runs/compare.png"),
):
    """Compare two runs: what differs in recipe and environment, their errors, their curves in one picture.

    Example: `liftbench runs compare runs/posemamba_s runs/improved/posemamba_s`
    """
    from liftbench.baselines.errors import InputError
    from liftbench.bench.runs import folders

    pair = [folders.open_run(path) for path in (first, second)]
    for run in pair:
        if run.log is None:
            raise InputError(
                f"Cannot compare {run.folder}: {(run.reason or 'it has no epoch').rstrip('.')}. Choose another run."
            )
    for title, rows in (("differences", folders.differences(*pair)), ("errors", folders.errors(*pair))):
        if not rows:
            out.print(f"no {title}")
            continue
        sides = table("", str(first), str(second), title=title)
        for quantity, *values in rows:
            sides.add_row(quantity, *(_text(value) for value in values))
        out.print(sides)
    labels = [str(path) for path in (first, second)]
    curves = [
        curve for run, label in zip(pair, labels) for curve in folders.curves_of(run.folder, run.recipe.model, label)
    ]
    folders.draw_curves(" and ".join(labels), curves, plot.with_suffix(".png"))
    out.print(f"wrote {plot.with_suffix('.png')}")


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def sweep(
    recipes: Annotated[list[str], typer.Argument(metavar="RECIPE...", help="Names of recipes, or their files.")],
    data: Annotated[list[Path], typer.Option(help="A data file or folder; repeat it for recipes on other data.")] = (
        SYNTHETIC,
    ),
    executor: Annotated[Literal["local", "slurm"], typer.Option(help="This machine, or Slurm's queue.")] = "local",
    jobs: Annotated[int, typer.Option(min=1, help="Rows that the local executor runs at a time.")] = 1,
    folder: Annotated[Path, typer.Option("--runs", help="Receives the run folders.")] = Path("runs"),
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs of each node; default: 1 if there are any.")] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes of each row, with Slurm.")] = 1,
    time: Annotated[
        float | None, typer.Option(min=0, help="Hours after which a row is queued again; Slurm needs it.")
    ] = None,
    partition: Annotated[str | None, typer.Option(help="Slurm's partition.")] = None,
    slurm: Annotated[
        list[str],
        typer.Option(metavar="KEY=VALUE", help="A further option of sbatch, such as account=lab; repeatable."),
    ] = (),
    epochs: Annotated[int | None, typer.Option(help="Epochs to train, instead of the recipes' numbers.")] = None,
    track: Track = ("tensorboard",),
    device: Device = "auto",
    scan: Scan = "auto",
    records_folder: Records = RECORDS,
):
    """Train and evaluate many recipes as jobs, one row each. Run it again to continue where it stopped.

    Example: `liftbench sweep posemamba_toy toy/mlp --data data/synthetic.pkl`

    Example: `liftbench sweep posemamba_s posemamba_b --data h36m_sh_conf_cam_source_final.pkl --executor slurm
    --partition gpu --gpus 4 --time 48 --slurm cpus-per-task=32`
    """
    from liftbench.baselines.errors import InputError
    from liftbench.baselines.training.tracking import check_services
    from liftbench.bench.runs import folders
    from liftbench.bench.runs import sweep as sweeps

    check_services(track)

    pairs = [text.partition("=") for text in slurm]
    if wrong := [text for text, (key, equals, _) in zip(slurm, pairs) if not (key and equals)]:
        raise InputError(f"Cannot read --slurm {wrong[0]}: it is not KEY=VALUE. Write for example --slurm account=lab.")
    if gpus is None:
        gpus = int(device != "cpu" if executor == "slurm" else choose_device(device) == "cuda")
    if gpus and device == "auto":
        device = "cuda"  # a job that finds no GPU fails, instead of training on the CPU
    rows = sweeps.plan(recipes, data, folder, **({} if epochs is None else {"epochs": epochs}))
    further = {key: value for key, _, value in pairs}
    resources = sweeps.Resources(gpus, nodes, time, partition, further)
    options = ("--device", device, "--scan", scan, "--records", str(records_folder))
    train_options = () if epochs is None else ("--epochs", str(epochs))
    train_options += tuple(word for name in track for word in ("--track", name))
    with progress() as bar:
        outcomes = sweeps.sweep(
            rows, folder, executor, resources, jobs, options, train_options,
            lambda text: bar.console.print(text, soft_wrap=True),
        )  # fmt: skip
    ended = table("row", "outcome", numbers=("epochs", "test\nMPJPE, mm", "official\nMPJPE, mm"))
    for outcome in outcomes:
        run = folders.open_run(outcome.row.folder)
        official = next((found.mpjpe_mm for found in run.accuracies if found.data.sha256 == outcome.row.digest), None)
        errors = run.last_mm, official
        numbers = ("-" if error is None else f"{error:.1f}" for error in errors)
        epochs_done = f"{run.epochs}/{run.of_epochs}" if run.recipe else "-"
        ended.add_row(outcome.row.name, outcome.state, epochs_done, *numbers)
    out.print(ended)
    for outcome in outcomes:
        if outcome.reason:
            out.print(f"{outcome.row.name} {outcome.state}: {outcome.reason}", soft_wrap=True)
    if any(outcome.state == "failed" for outcome in outcomes):
        raise typer.Exit(1)
