"""The import directions (floors.py), and the one seam to the disk: read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.floors import FLOORS, floor_of
from tests.source import ROOT, imports_of, module_name, python_files, tree_of

# What the engine must not know (style.md); except its asyncio face, flin/engine/aio*.py.
FOREIGN_TO_ENGINE = {"asyncio", "socket", "selectors", "ssl", "hiredis", "redis", "uvloop", "http"}

# Outside flin/engine/disk/fs.py, and the modules that it uses, the engine reaches neither disk nor clock nor random
# numbers: so tests can crash it at every step and replay a seed. Modules that are banned whole, and the few names that
# are not, each with its reason.
SEAM = {"fs.py", "descriptor.py", "directory_lock.py"}
BANNED = {"os", "io", "mmap", "fcntl", "shutil", "tempfile", "pathlib", "glob", "subprocess", "builtins"}
BANNED |= {"time", "datetime", "random", "secrets", "uuid"}
ANYWHERE = {
    "os.PathLike": "a type of the public API",
    "datetime.timedelta": "the same",
    "time.monotonic": "waits and pacing of threads; no state on disk depends on it",
    "time.perf_counter": "durations for stats()",
    "time.thread_time": "CPU time for stats()",
    "time.process_time": "CPU time for stats()",
}
PROCESSES = {
    "flin.engine.background.helper_process": "starts and ends the helper process, talks through pipes; opens no file",
    "flin.engine.background.helper": "is that process: reads its pipe, ends by os._exit when its parent is gone",
}
ALSO = {
    ("flin.engine.options", "time.time_ns"): "the default of the clock_ms argument",
    ("flin.engine.disk.lock", "datetime.datetime"): "writes a moment that it was given as text",
    ("flin.engine.disk.lock", "datetime.UTC"): "the same",
    ("flin.engine.background.helper", "time.sleep"): "a watchdog's pace",
    ("flin.engine.codec", "uuid.UUID"): "a type of keys, made of its bytes",
    ("flin.engine.codec", "datetime.datetime"): "a type of keys; no clock is read",
    ("flin.engine.codec", "datetime.timedelta"): "the same",
    ("flin.engine.codec", "datetime.UTC"): "the same",
    ("flin.engine.thread_start", "mmap.mmap"): "memory of no file: whether there is room for a thread",
    ("flin.engine.background.patience", "open"): "what the kernel counts of this thread; no file",
    ("flin.engine.background.sweep", "time.sleep"): "of no time: lets other threads in",
    ("flin.engine.tree.turns", "time.sleep"): "pauses of a writer while another thread is in the middle of a write",
    ("flin.engine.tree.dropped_memtables", "time.sleep"): "pauses between slices of freed entries",
    ("flin.engine.transactional", "time.sleep"): "a pause before a transaction is tried again",
    ("flin.engine.transactional", "random.uniform"): "how long that is",
    ("flin.engine.aio_transaction", "random.uniform"): "the same, of tasks",
    ("flin.engine.background.job_handle", "time.sleep"): "a pause of a thread that found no memory",
    ("flin.engine.background.compactor", "time.sleep"): "a pause of threads that have no memory to wait in another way",
    ("flin.engine.background.maintenance", "time.sleep"): "the same",
    ("flin.engine.background.slices", "time.sleep"): "the rest of a job between two slices",
    ("flin.engine.eviction.candidates", "random.Random"): "a generator with a seed of Options.random_bytes",
    ("flin.engine.disk.cipher", "secrets.token_bytes"): "salts of files that a helper process seals",
    ("flin.engine.options", "secrets.token_bytes"): "the default of the random_bytes argument",
}

# Imports that point upwards: each in a function, with its reason.
UPWARDS = {
    (
        "flin.engine.memoize",
        "flin.engine.aio_memoize",
    ): "who memoizes an async function has loaded asyncio; who memoizes none does not load it",
    (
        "flin.engine.engine",
        "flin.objects.owners",
    ): "verify() of an embedded database says whether collections are whole",
    (
        "flin.engine.typed_keys",
        "flin.objects.views",
    ): "the face makes views of collections, which are of a floor above; who uses none loads nothing of it",
}

FLIN = python_files("flin")
ENGINE = [path for path in python_files("flin/engine") if path.name not in SEAM]


MODULES = {module_name(path): path for path in FLIN}


def imported_by(module: str) -> set[str]:
    """The modules of Flin that a module names, types included; the package itself is only its version."""
    found = set()
    for _, name in imports_of(MODULES[module]):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        found.add(name)
    upwards = {name for importer, name in UPWARDS if importer == module}
    return found - {"", "flin", module} - upwards


def test_imports_point_down() -> None:
    pairs = [(module, name) for module in MODULES for name in imported_by(module)]
    assert [pair for pair in pairs if floor_of(pair[1]) > floor_of(pair[0])] == []


def test_nothing_imports_in_circles() -> None:
    assert strong_components({module: imported_by(module) for module in MODULES}) == []


def test_strong_components() -> None:
    assert strong_components({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [{"b", "c"}]
    assert strong_components({"a": {"b"}, "b": {"a"}, "c": {"a", "d"}, "d": {"c"}}) == [{"a", "b"}, {"c", "d"}]
    assert strong_components({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def strong_components(graph: dict[str, set[str]]) -> list[set[str]]:
    """The sets of at least two nodes that reach each other."""

    def reached_from(start: str) -> set[str]:
        reached: set[str] = set()
        todo = [start]
        while todo:
            new = graph[todo.pop()] - reached
            reached |= new
            todo += new
        return reached

    reached = {node: reached_from(node) for node in graph}
    components: list[set[str]] = []
    for node in graph:
        component = {other for other in reached[node] if node in reached[other]}
        if len(component) > 1 and component not in components:
            components.append(component)
    return components


def test_imports_upwards_are_late() -> None:
    """In a function, so that who only opens a database loads nothing of it; and none that nothing needs any more."""
    for module, name in UPWARDS:
        tree = tree_of(MODULES[module])
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == name]
        assert imported
        assert not [node for node in imported if node in tree.body]


def _imports(folder: str) -> Iterator[tuple[str, str]]:
    """(place, name) of all imports below a folder."""
    for path in python_files(folder):
        for line, name in imports_of(path):
            yield f"{path.relative_to(ROOT)}:{line}", name


def test_nothing_imports_the_tests() -> None:
    assert [found for found in _imports("flin") if found[1].startswith(("tests", "fuzz"))] == []


def test_engine_knows_no_network() -> None:
    found = [found for found in _imports("flin/engine") if found[1].split(".")[0] in FOREIGN_TO_ENGINE]
    assert [place for place, _ in found if not place.startswith("flin/engine/aio")] == []


def test_rdb_is_pure() -> None:
    """Bytes into values and back: no file, no clock, no chance, no other part of Flin but its errors."""
    roots = {"__future__", "collections", "dataclasses", "itertools", "math", "re", "struct", "typing"}
    found = [found for found in _imports("flin/rdb") if found[1].split(".")[0] not in roots]
    assert [pair for pair in found if not pair[1].startswith(("flin.errors", "flin.rdb"))] == []


def test_engine_has_one_seam() -> None:
    for path in ENGINE:
        reached = [(line, name) for line, name in _system_names(path) if not _allowed(module_name(path), name)]
        assert not reached, f"{path.relative_to(ROOT)} goes round flin/engine/disk/fs.py: {reached}"


def test_every_floor_has_its_module_and_every_module_its_floor() -> None:
    named = [module for floor in FLOORS for module in floor]
    assert len(named) == len(set(named))
    assert [module for module in named if module not in MODULES] == []
    placed = ("flin.engine.", "flin.objects.", "flin.net.", "flin.cluster.")
    assert [module for module in MODULES if module.startswith(placed) and module not in named] == []


def test_a_wing_says_what_it_is_and_exports_nothing() -> None:
    wings = [path for path in FLIN if path.name == "__init__.py" and module_name(path).count(".") == 2]
    assert len(wings) == 30
    assert [path for path in wings if len(tree_of(path).body) != 1 or not ast.get_docstring(tree_of(path))] == []


def test_every_exception_is_used() -> None:
    """An exception to the rule that nothing needs any more is a hole."""
    used = {(module_name(path), name) for path in ENGINE for _, name in _system_names(path)}
    assert not [key for key in ALSO if key not in used]


def _allowed(module: str, name: str) -> bool:
    processes = module in PROCESSES and name.split(".")[0] in ("os", "subprocess", "io")
    return name in ANYWHERE or (module, name) in ALSO or processes


def _system_names(path: Path) -> list[tuple[int, str]]:
    """Every use of a banned module, as module.name, and every call of the builtin open."""
    found = []
    aliases: dict[str, str] = {}
    nodes = list(ast.walk(tree_of(path)))
    for node in nodes:
        if isinstance(node, ast.Import):
            aliases |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name in BANNED}
        elif isinstance(node, ast.ImportFrom) and node.module in BANNED:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            found.append((node.lineno, f"{aliases[node.value.id]}.{node.attr}"))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("open", "__import__"):
            found.append((node.lineno, node.func.id))
    return found
