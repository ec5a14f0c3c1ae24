"""The application, and its commands: one line each at the end.

They are imported at every start, so a file of commands imports what it computes with only inside
the commands; ``tests/test_public.py`` looks after that.
"""

from __future__ import annotations

from cyclopts import App

from picojoule.cli.adapt_commands import adapt
from picojoule.cli.cache_commands import cache
from picojoule.cli.calibration_commands import calibrate
from picojoule.cli.check_commands import check, list_shipped, show, validate
from picojoule.cli.completion import completion
from picojoule.cli.estimate_commands import estimate, map_layer, price_mapping
from picojoule.cli.eyexam_commands import eyexam
from picojoule.cli.measure_command import measure
from picojoule.cli.pruning_commands import profile, prune
from picojoule.cli.report_commands import compare, report
from picojoule.cli.serve_command import serve
from picojoule.cli.table_command import table
from picojoule.version import __version__

app = App(
    name="picojoule",
    help="What one inference of a neural network costs in energy, and where it goes.",
    help_format="plaintext",
    help_epilogue=(
        "--traceback, with any command, shows where in the code an error arose. "
        "Exit codes: 0 yes; 1 the answer is no; 2 the question was wrong, or the answer leaves "
        "operators out that multiply; 101 a bug of picojoule; 130 interrupted."
    ),
    version=__version__,
    version_flags=["--version"],
)

app.command(estimate)
app.command(map_layer, name="map")
app.command(price_mapping, name="price")
app.command(report)
app.command(compare)
app.command(serve)
app.command(cache)
app.command(check)
app.command(list_shipped, name="list")
app.command(show)
app.command(validate)
app.command(eyexam)
app.command(calibrate)
app.command(measure)
app.command(prune)
app.command(profile)
app.command(adapt)
app.command(table)
app.command(completion)
