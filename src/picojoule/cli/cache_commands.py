"""The searches that are kept: cache."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from picojoule.cli.answers import YES, json_head, print_json, print_text, say
from picojoule.cli.options import CacheFolder, Json
from picojoule.cli.questions import read_cache


def cache(
    *,
    folder: CacheFolder = None,
    clear: Annotated[bool, Parameter(negative="", help="Delete them.")] = False,
    as_json: Json = False,
) -> int:
    """Show where searches are kept and how many; with --clear, delete them."""
    from picojoule.mapper.cache import cache_folder, census
    from picojoule.mapper.cache import clear as delete

    place = cache_folder(read_cache(folder, no_cache=False))
    if place is None:
        say("no searches are kept: there is no home folder; give --cache DIR")
        return YES
    if clear:
        say(f"{delete(place)} searches deleted")
    counts = census(place)
    if as_json:
        print_json({**json_head(), "folder": str(place), **counts._asdict()})
    else:
        from picojoule.units import show_capacity

        print_text(
            f"{place}: {counts.usable + counts.outdated} searches, "
            f"{show_capacity(8 * counts.bytes)}; {counts.outdated} of them by other versions"
        )
    return YES
