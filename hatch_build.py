"""Compiles picojoule's functions while it is built, so that no user waits for it.

A wheel holds the machine code for its platform; an editable install puts it beside the sources. How
functions are compiled is :mod:`picojoule.compiled`'s, which is imported from the sources here.
"""

from __future__ import annotations

import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledFunctions(BuildHookInterface):  # type: ignore[type-arg]
    """The machine code of all units; found by hatchling."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile what is not compiled, and tell hatchling where it belongs."""
        sys.path.insert(0, str(Path(self.root) / "src"))
        from picojoule.compiled import loading
        from picojoule.compiled.units import UNITS
        from picojoule.errors import PicojouleError

        editable = version == "editable"
        compiled_for = loading.processor() if editable else loading.shipped_processor()
        self._folder = tempfile.TemporaryDirectory()  # goes with this process
        folder = loading.INSTALLED if editable else Path(self._folder.name)
        try:
            for unit in UNITS:
                path = folder / loading.file_name(unit, compiled_for)
                if not path.exists():
                    loading.keep(path, loading.compile_unit(unit, compiled_for))
                if not editable:
                    build_data["force_include"][str(path)] = f"picojoule/compiled/code/{path.name}"
        except PicojouleError as error:
            # It works without: what is missing is compiled at its first call.
            self.app.display_warning(str(error))
            return
        if not editable:
            system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{system}"
