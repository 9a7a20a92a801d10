"""The house keeps its order: what stands at the root, which room may know which, no circles,
no torch where none is needed.

Imports are read from the syntax trees, those inside functions included. The standard library alone does it.
"""

import ast
import graphlib
import subprocess
import sys

import pytest
from places import ROOT

COMMANDS = {"run", "run_single_img", "tables", "compare", "fuse", "bench"}
VOCABULARY = {"models", "distances", "datasets", "robustness"}
# From top to bottom; what stands on one line does not know its neighbours, what stands below knows nothing above it
LINES = [
    COMMANDS,
    {"scoring", "reports"},
    {"scorefiles"},
    {"methods"},
    {"models", "datasets"},
    {"networks", "loaders"},
    {"common", "agreement", "distances", "robustness"},
]
AT_THE_ROOT = {
    *(f"{name}.py" for name in COMMANDS | VOCABULARY),
    *(
        "requirements.txt",
        "README.md",
        "LICENSE",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "pyproject.toml",
        "scripts",
        "docs",
        "tests",
    ),
    *("scoring", "reports", "scorefiles", "methods", "networks", "loaders", "agreement", "common", ".ci", ".gitignore"),
}
FLOOR = {room: len(LINES) - i for i, line in enumerate(LINES) for room in line}


def sources(root):
    """{module: path} of every Python file of the project; tests and scripts aside, which may import anything."""
    files = [path for path in root.rglob("*.py") if path.relative_to(root).parts[0] in FLOOR or path.parent == root]
    return {module_name(path.relative_to(root)): path for path in files}


def module_name(relative):
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(module, path, known):
    """The project's modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide what they reach"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in names]
        else:
            continue
        yield from (name for name in names if name in known)


def graph(root=ROOT):
    known = sources(root)
    return {module: set(imports(module, path, known)) - {module} for module, path in known.items()}


def faults(edges):
    """A sentence for each import that points up or sideways between rooms."""
    for module, others in sorted(edges.items()):
        for other in sorted(others):
            here, there = module.split(".")[0], other.split(".")[0]
            if here != there and FLOOR[there] >= FLOOR[here]:
                yield f"{module} imports {other}, which does not stand below it"


def circle(edges):
    """The modules of a circle of imports, [] where there is none.
    A package's __init__ may offer what is in its room."""
    rooms = {module for module in edges if any(other.startswith(f"{module}.") for other in edges)}
    try:
        graphlib.TopologicalSorter({m: others - rooms for m, others in edges.items() if m not in rooms}).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_the_root_holds_what_was_asked_for_and_the_rooms():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    names = {name.split("/")[0] for name in tracked if name}
    if not names:
        pytest.skip("no git checkout: the listing cannot be told from what was made here")
    assert names == AT_THE_ROOT


def test_imports_point_down():
    assert not list(faults(graph()))


def test_no_circles():
    assert not circle(graph())


@pytest.mark.parametrize(
    "room, line, fault",
    [
        ("common", "from reports.compare import compare", "common.upward imports reports.compare"),
        ("agreement", "import common.errors", "agreement.upward imports common.errors"),
        ("networks", "def f():\n    from loaders import pairs", "networks.upward imports loaders.pairs"),
        ("scoring", "import run", "scoring.upward imports run"),
    ],
)
def test_an_upward_import_is_noticed(tmp_path, room, line, fault):
    for path in sources(ROOT).values():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / room / "upward.py").write_text(line + "\n")
    assert [f"{fault}, which does not stand below it"] == list(faults(graph(tmp_path)))


def test_a_circle_is_noticed():
    assert set(circle({"a.b": {"a.c"}, "a.c": {"a.d"}, "a.d": {"a.b"}, "a": {"a.b"}})) == {"a.b", "a.c", "a.d"}


def test_no_two_classes_share_a_name():
    """Over the whole project, tests aside: a reader who looks for a class by its name lands on one."""
    places = {}
    for module, path in sources(ROOT).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{module}, line {node.lineno}")
    assert len(places) > 20
    assert not {name: where for name, where in places.items() if len(where) > 1}


@pytest.mark.parametrize(
    "what, absent",
    [
        ("reports.compare, reports.fuse, reports.tables, scorefiles.read, scorefiles.folder", {"torch"}),
        ("agreement, reports.compare", {"torch", "PIL", "timm"}),
        (
            "run, run_single_img, scoring, methods.build, networks.weights",
            {"torch", "timm", "pandas", "cv2", "matplotlib"},
        ),
        ("datasets, common.images", {"torch", "pandas", "PIL", "numpy", "scipy", "skimage"}),
    ],
)
def test_importing_is_light(what, absent):
    code = f"import sys, {what}; print(sorted({absent} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
