"""`liftbench measure`: costs, speed, lifting and the loader; every result is appended as a record."""

import typer

from liftbench.bench.cli.measure import models, parts, weights

app = typer.Typer(
    no_args_is_help=True, help="Measure costs, speed, lifting and the loader; every result is appended as a record."
)
app.command()(models.cost)
app.command()(models.speed)
app.command()(models.compare)
app.command()(models.scaling)
app.command()(parts.scan)
app.command()(weights.online)
app.command()(weights.lift)
app.command()(parts.loader)
