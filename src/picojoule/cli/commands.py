"""The application, and its commands: one line each at the end.

Each is imported when it is called; help imports all of them, so a file of commands imports what it
computes with only inside the commands. ``tests/test_public.py`` looks after that.
"""

from __future__ import annotations

from cyclopts import App

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

app.command("picojoule.cli.estimate_commands:estimate")
app.command("picojoule.cli.estimate_commands:map_layer", name="map")
app.command("picojoule.cli.estimate_commands:price_mapping", name="price")
app.command("picojoule.cli.plan_command:plan")
app.command("picojoule.cli.report_commands:report")
app.command("picojoule.cli.report_commands:compare")
app.command("picojoule.cli.serve_command:serve")
app.command("picojoule.cli.cache_commands:cache")
app.command("picojoule.cli.check_commands:check")
app.command("picojoule.cli.check_commands:list_shipped", name="list")
app.command("picojoule.cli.check_commands:show")
app.command("picojoule.cli.check_commands:validate")
app.command("picojoule.cli.eyexam_commands:eyexam")
app.command("picojoule.cli.calibration_commands:calibrate")
app.command("picojoule.cli.measure_command:measure")
app.command("picojoule.cli.pruning_commands:prune")
app.command("picojoule.cli.pruning_commands:profile")
app.command("picojoule.cli.adapt_commands:adapt")
app.command("picojoule.cli.table_command:table")
app.command("picojoule.cli.completion:completion")
