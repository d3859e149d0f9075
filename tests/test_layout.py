"""The house keeps its order: who may import whom, what an import costs, and no circles.

Every module of `uda` is parsed, never run: imports inside functions and type-checking blocks count
as well, because they too tie one room to another.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PARTS = frozenset({"losses", "data", "models", "evaluation"})


@dataclass(frozen=True)
class Rule:
    """What a room may import: rooms of `uda`, and packages from elsewhere (None: any)."""

    rooms: frozenset[str] = frozenset()
    packages: frozenset[str] | None = None


TORCH = frozenset({"torch"})
TORCH_AND_VISION = frozenset({"torch", "torchvision"})
RULES = {
    "losses": Rule(packages=TORCH),
    "data": Rule(),
    "models": Rule(),
    "evaluation": Rule(),
    "runs": Rule(),
    "reports": Rule(),
    "selftraining": Rule(frozenset({"losses"}), TORCH_AND_VISION),
    "registry": Rule(PARTS | {"selftraining"}),
    "methods": Rule(frozenset({"selftraining", "losses", "registry"})),
    "tta": Rule(frozenset({"losses", "selftraining"}), TORCH_AND_VISION),
    "engine": Rule(PARTS | {"runs", "reports", "selftraining", "registry", "methods", "tta"}),
    "interface": Rule(
        PARTS | {"runs", "reports", "selftraining", "registry", "methods", "tta", "engine"}
    ),
    "commands": Rule(
        PARTS | {"runs", "reports", "selftraining", "registry", "methods", "tta", "engine"}
    ),
}
# Single modules that belong to no room and that all rooms may use: these, and `uda/_*.py`.
# They import no room, and at import time nothing but torch and the standard library.
SHARED_MODULES = frozenset({"structures", "files", "processes", "text", "watching"})


@dataclass(frozen=True)
class Import:
    """One imported module name and whether it is imported when its module is."""

    name: str
    line: int
    at_import: bool


def module_name(path: Path, root: Path) -> str:
    """Return the dotted name of a file below `root`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def uda_files(root: Path) -> dict[str, Path]:
    """Return all modules of the package `uda` below `root` by name."""
    return {module_name(path, root): path for path in sorted((root / "uda").rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    """Return whether a node is an `if TYPE_CHECKING:` block."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def statements(node: ast.AST, at_import: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """Yield all nodes below `node` and whether they run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        runs = at_import and not is_function and not is_type_checking(child)
        yield child, runs
        yield from statements(child, runs)


def names_of(node: ast.AST, module: str, is_package: bool, modules: set[str]) -> list[str]:
    """Return the absolute names of the modules that one node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = module.split(".")[
                : None if is_package and node.level == 1 else -(node.level - is_package)
            ]
            base = ".".join([*parents, *filter(None, [node.module])])
        inner = [f"{base}.{alias.name}" for alias in node.names]
        submodules = [name for name in inner if name in modules]
        return submodules + ([base] if len(submodules) < len(inner) else [])
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        return [
            arg.value
            for arg in node.args[:1]
            if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
        ]
    return []


def imports_of(module: str, path: Path, modules: set[str]) -> list[Import]:
    """Return everything a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return [
        Import(name, getattr(node, "lineno", 0), runs)
        for node, runs in statements(tree)
        for name in names_of(node, module, path.name == "__init__.py", modules)
    ]


def room_of(module: str) -> str:
    """Return the room of a `uda` module, empty for the package itself."""
    return (module.split(".") + [""])[1]


def is_shared(room: str) -> bool:
    """Return whether a name directly under `uda` is open to all rooms."""
    return room in SHARED_MODULES or (room.startswith("_") and room != "__init__")


def complaint(module: str, imported: Import) -> str | None:
    """Return what is wrong with one import, or None."""
    room, top = room_of(module), imported.name.split(".")[0]
    if top == "tools":
        return "uda never imports tools"
    if top == "uda":
        other = room_of(imported.name)
        if other in (room, "") or is_shared(other):
            return None
        if (module, other) == ("uda", "interface") and not imported.at_import:
            return None  # `uda.train` and its like, imported when they are used
        if is_shared(room) or room == "":
            return f"{module} stands below all rooms and may not import {other}"
        return None if other in RULES[room].rooms else f"{room} may not import {other}"
    if top in sys.stdlib_module_names:
        return None
    if is_shared(room) or room == "":
        return (
            f"{module} may import {top} only in a function"
            if (imported.at_import and top not in TORCH)
            else None
        )
    allowed = RULES[room].packages
    return None if allowed is None or top in allowed else f"{room} may not import {top}"


def complaints(root: Path) -> list[str]:
    """Return every forbidden import below `root` with file and line."""
    files = uda_files(root)
    found = []
    for module, path in files.items():
        room = room_of(module)
        where = path.relative_to(root).as_posix()
        if room and room not in RULES and not is_shared(room):
            found.append(f"{where}: {room} is on no floor; add it to RULES or SHARED_MODULES")
            continue
        for imported in imports_of(module, path, set(files)):
            if problem := complaint(module, imported):
                found.append(f"{where}:{imported.line}: {problem} ({imported.name})")
    return found


def import_circle(root: Path) -> list[str]:
    """Return one circle of modules that import each other at import time, or nothing."""
    files = uda_files(root)
    graph = {
        module: sorted(
            {
                i.name
                for i in imports_of(module, path, set(files))
                if i.at_import and i.name in files and i.name != module
            }
        )
        for module, path in files.items()
    }
    done: set[str] = set()

    def walk(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return []
        for neighbour in graph[module]:
            if circle := walk(neighbour, [*trail, module]):
                return circle
        done.add(module)
        return []

    return next(filter(None, (walk(module, []) for module in graph)), [])


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write a small package to check the checks with."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter at the project root."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False
    )


def test_import_directions() -> None:
    """No module of the project imports upwards, sideways, or a package its room must not need."""
    assert complaints(PROJECT) == []


def test_no_import_circles() -> None:
    """No two modules need each other while they are imported."""
    assert import_circle(PROJECT) == []


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("uda/losses/a.py", "import numpy", "losses may not import numpy"),
        ("uda/losses/a.py", "import torchvision.ops", "losses may not import torchvision"),
        ("uda/data/a.py", "def f():\n    import uda.models", "data may not import models"),
        ("uda/data/a.py", "from uda import models", "data may not import models"),
        ("uda/data/b/a.py", "from ...models import x", "data may not import models"),
        ("uda/data/__init__.py", "from ..models import x", "data may not import models"),
        ("uda/selftraining/a.py", "import mmengine", "selftraining may not import mmengine"),
        ("uda/tta/a.py", "from uda.methods import x", "tta may not import methods"),
        ("uda/methods/a.py", "import uda.models.b", "methods may not import models"),
        ("uda/registry.py", "from uda.methods import x", "registry may not import methods"),
        ("uda/engine/a.py", "from tools import x", "uda never imports tools"),
        ("uda/engine/a.py", "from uda.commands.b import x", "engine may not import commands"),
        ("uda/_quiet.py", "def f():\n    import uda.commands", "below all rooms"),
        ("uda/data/a.py", "import importlib as i\ni.import_module('uda.models')", "import models"),
        ("uda/_quiet.py", "import mmengine", "only in a function"),
        ("uda/structures.py", "from uda.losses import x", "below all rooms"),
        ("uda/__init__.py", "from uda.losses import x", "below all rooms"),
        ("uda/__init__.py", "from uda.interface import x", "below all rooms"),
        ("uda/engine/a.py", "from uda.interface import x", "engine may not import interface"),
        ("uda/extra/a.py", "", "extra is on no floor"),
    ],
)
def test_guard_finds_forbidden_imports(tmp_path: Path, path: str, text: str, message: str) -> None:
    """The guard itself: each kind of wrong import is found."""
    plant(tmp_path, {"uda/models/__init__.py": "", path: text})
    (found,) = complaints(tmp_path)
    assert message in found
    assert found.startswith(path)


def test_guard_accepts_allowed_imports(tmp_path: Path) -> None:
    """The guard itself: right imports pass, relative ones among them."""
    plant(
        tmp_path,
        {
            "uda/__init__.py": "def __getattr__(n):\n    import uda.interface",
            "uda/interface.py": "from uda.engine import x",
            "uda/_quiet.py": "def f():\n    import mmengine",
            "uda/losses/a.py": "import math\nimport torch.nn\nfrom uda import __version__",
            "uda/losses/b.py": "from . import a\nfrom .a import x\nfrom uda._quiet import f",
            "uda/losses/__init__.py": "from .a import x\nfrom . import b",
            "uda/engine/a.py": "from uda.methods import x\nfrom ..losses.a import y\nimport rich",
        },
    )
    assert complaints(tmp_path) == []
    assert import_circle(tmp_path) == []


def test_guard_finds_circles(tmp_path: Path) -> None:
    """The guard itself: a circle is found, one closed inside a function is not one."""
    plant(tmp_path, {"uda/losses/a.py": "from .b import x", "uda/losses/b.py": "from . import a"})
    assert import_circle(tmp_path) == ["uda.losses.a", "uda.losses.b", "uda.losses.a"]
    plant(tmp_path, {"uda/losses/b.py": "def f():\n    from . import a"})
    assert import_circle(tmp_path) == []


def test_import_uda_is_light() -> None:
    """`import uda` loads no framework."""
    result = run_python(
        "import sys, uda; print(*{'torch', 'mmseg', 'mmengine', 'numpy', 'cv2'} & {*sys.modules})"
    )
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr


def test_losses_import_torch_alone() -> None:
    """Losses and parts work where mmseg is not installed."""
    result = run_python(
        "import sys, uda.losses, uda.selftraining; "
        "print(*{'mmseg', 'mmengine', 'mmcv', 'timm', 'cv2', 'albumentations'} & {*sys.modules})"
    )
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr


def test_runs_import_no_framework() -> None:
    """Two runs are compared without waiting for torch."""
    result = run_python(
        "import sys, uda.runs, uda.runs.table; "
        "print(*{'torch', 'mmengine', 'numpy'} & {*sys.modules})"
    )
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr


@pytest.mark.parametrize("room", ["data", "models", "evaluation", "runs", "reports"])
def test_imports_print_nothing(room: str) -> None:
    """Importing a room writes to neither stream."""
    result = run_python(f"import uda.{room}")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
