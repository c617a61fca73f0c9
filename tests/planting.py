"""Changes to a module, made as soon as it is imported and not before: workers that need no torch start without it."""

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def when_imported(name: str, plant: Callable[[ModuleType], None]) -> None:
    """Call `plant` with the module of this name once it has been executed; at once if it has been already."""
    if name in sys.modules:
        plant(sys.modules[name])
    else:
        sys.meta_path.insert(0, _Finder(name, plant))


class _Finder(MetaPathFinder):
    def __init__(self, name: str, plant: Callable[[ModuleType], None]) -> None:
        self._name, self._plant = name, plant

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Find that module, to be changed as soon as it has been executed; leave every other to others."""
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def executed(module: ModuleType) -> None:
            execute(module)
            self._plant(module)

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec
