"""The house itself: imports go down, files stay small, importing changes nothing, public names explain themselves."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import resolve_name
from pathlib import Path

import pytest

import momentumflow as mf

ROOT = Path(mf.__file__).parent
ROOMS = (
    "problems", "methods", "linear", "expansion", "flows", "theory", "study", "plot", "training", "monitor",
    "experiments", "explorer", "cli",
)  # fmt: skip
FLOOR = {room: floor for floor, room in enumerate(ROOMS, start=1)}
FILE_LINES, FUNCTION_LINES = 350, 60


def sources() -> dict[str, str]:
    """Dotted module name -> source text, `momentumflow` itself left out: it names every room, lazily."""
    files = {path.relative_to(ROOT.parent): path for path in ROOT.rglob("*.py")}
    named = {
        ".".join(relative.with_suffix("").parts).removesuffix(".__init__"): path
        for relative, path in files.items()
    }
    return {name: path.read_text(encoding="utf-8") for name, path in named.items() if name != "momentumflow"}


def floor(module: str) -> int:
    """Floor of a module: 0 is the ground, whose names begin with an underscore."""
    room = module.split(".")[1]
    return 0 if room.startswith("_") else FLOOR[room]


def imported(module: str, text: str, modules: Mapping[str, str]) -> Iterator[str]:
    """The modules of the package that a module imports, at the top or inside a function, or reaches as `mf.name`."""
    tree = ast.parse(text)
    is_package = any(other.startswith(module + ".") for other in modules)
    package = module if is_package else module.rpartition(".")[0]
    aliases = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {
                alias.name: alias.asname for alias in node.names if alias.name.split(".")[0] == "momentumflow"
            }
            aliases |= {asname or "momentumflow" for name, asname in names.items() if name == "momentumflow"}
            yield from names
        elif isinstance(node, ast.ImportFrom):
            base = (
                resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            )
            if base.split(".")[0] == "momentumflow":
                yield from (resolve(base, alias.name, modules) for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            yield resolve("momentumflow", node.attr, modules)


def resolve(base: str, name: str, modules: Mapping[str, str]) -> str:
    """The module that `from base import name` reaches."""
    if f"{base}.{name}" in modules:
        return f"{base}.{name}"
    if base == "momentumflow" and name in mf._HOME:
        return f"momentumflow.{mf._HOME[name]}"
    return base


def graph(modules: Mapping[str, str]) -> dict[str, set[str]]:
    found = {name: set(imported(name, text, modules)) for name, text in modules.items()}
    return {name: targets - {"momentumflow", name} for name, targets in found.items()}


def climbs(modules: Mapping[str, str]) -> list[str]:
    edges = graph(modules)
    return [f"{a} -> {b}" for a, targets in edges.items() for b in targets if floor(b) > floor(a)]


def cycle(modules: Mapping[str, str]) -> list[str]:
    """A cycle of imports, or nothing."""
    edges, done = graph(modules), set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in sorted(edges.get(name, ())):
            if found := visit(target, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in edges if (found := visit(name, []))), [])


def test_imports_go_down():
    assert climbs(sources()) == []


def test_imports_have_no_cycle():
    assert cycle(sources()) == []


@pytest.mark.parametrize(
    "text",
    [
        "from ..experiments import checks",
        "from ..experiments.checks import Check",
        "import momentumflow.experiments.checks",
        "from momentumflow.experiments import checks",
        "def f():\n    from ..cli import app",
        "import momentumflow as mf\nmf.iterate",
        "from momentumflow import iterate",
    ],
)
def test_the_walk_sees_an_import_that_climbs(text):
    modules = sources() | {"momentumflow.problems.climber": text}
    assert any(edge.startswith("momentumflow.problems.climber -> ") for edge in climbs(modules))


def test_the_walk_lets_an_import_go_down():
    text = "from .. import _tree, __version__\nfrom .._types import Loss\nimport numpy, momentumflow as mf\nmf.iterate"
    modules = sources() | {"momentumflow.study.walker": text}
    assert not [edge for edge in climbs(modules) if "walker" in edge]
    assert graph(modules)["momentumflow.study.walker"] == {
        "momentumflow._tree",
        "momentumflow._types",
        "momentumflow.methods.iterate",
    }


def test_the_walk_sees_a_cycle():
    modules = {
        "momentumflow.study": "",
        "momentumflow.study.a": "from . import b",
        "momentumflow.study.b": "from .c import x",
        "momentumflow.study.c": "from .a import y",
    }
    assert cycle(modules) == [f"momentumflow.study.{x}" for x in "abca"]


def test_files_stay_small():
    long = {name: text.count("\n") for name, text in sources().items() if text.count("\n") > FILE_LINES}
    assert not long


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring, which the house wants long."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    return (
        function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if documented else 0)
    )


def test_functions_stay_small():
    functions = [
        (name, node)
        for name, text in sources().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert not {
        f"{name}.{node.name}": length(node) for name, node in functions if length(node) > FUNCTION_LINES
    }


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after the code."""
    script = f"import sys\n{code}\nprint(*{{name.split('.')[0] for name in sys.modules}}, sep='\\n', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_by("import momentumflow") & {"jax", "numpy", "matplotlib", "torch", "typer", "rich"}


def test_the_probe_of_loaded_modules_sees_jax():
    assert "jax" in loaded_by("import momentumflow; momentumflow.iterate")


def test_the_public_names_load_no_drawing_and_no_command_line():
    code = "import momentumflow\nfor name in momentumflow.__all__: getattr(momentumflow, name)"
    assert not loaded_by(code) & {"matplotlib", "torch", "typer"}


def test_plot_is_found_on_use_and_only_then_loads_the_drawing():
    assert "plot" in dir(mf)
    assert "plot" not in mf.__all__
    assert "matplotlib" in loaded_by("import momentumflow; momentumflow.plot.trajectories")
    assert "matplotlib" not in loaded_by("import momentumflow; dir(momentumflow)")


def test_importing_leaves_the_precision_alone():
    code = (
        "import jax, momentumflow\nfor name in momentumflow.__all__: getattr(momentumflow, name)\n"
        "import momentumflow.experiments.runner\nassert not jax.config.jax_enable_x64"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", mf.__all__)
def test_a_public_name_has_a_docstring_with_an_example(name):
    thing = getattr(mf, name)
    assert thing.__module__ == f"momentumflow.{mf._HOME[name]}"
    if not name.startswith("Abstract"):  # an example of an abstract class is one of its children
        assert ">>> " in (thing.__doc__ or "")


def test_every_module_has_a_docstring_and_can_be_imported():
    for name, text in sources().items():
        assert ast.get_docstring(ast.parse(text)), f"{name} has no docstring"
        importlib.import_module(name)
