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


def definitions(tree):
    """{name: node} of the functions and classes at a module's outermost level."""
    return {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def classes(root):
    """{name: where} of every class of the project, those inside functions included."""
    places = {}
    for module, path in sources(root).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{module}, line {node.lineno}")
    return places


def shared_names(root):
    """{name: where} of the classes whose name another one has."""
    return {name: where for name, where in classes(root).items() if len(where) > 1}


def across_borders(root):
    """(room that uses it, its definition, where that stands) of the functions and classes that another room imports,
    or takes from an imported module, and of those that a room's __init__ offers."""
    known = sources(root)
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in known.items()}
    defined = {module: definitions(tree) for module, tree in trees.items()}
    offered = {module: dict(imported_names(tree, known)) for module, tree in trees.items() if is_package(known[module])}

    def resolve(module, name):
        while name not in defined[module] and name in offered.get(module, ()):
            module, name = offered[module][name]
        return module, name

    uses, rooms = set(), {module for module in offered if "." not in module}
    for module, tree in trees.items():
        uses |= {(module, where) for _, where in imported_names(tree, known)}
        uses |= {(module, where) for where in attributes_of_modules(tree, known)}
    for user, module, name in sorted((user, *resolve(*where)) for user, where in uses):
        outside = user.split(".")[0] != module.split(".")[0] or user in rooms
        if outside and name in defined[module]:
            yield user, defined[module][name], f"{module}.{name}"


def is_package(path):
    return path.name == "__init__.py"


def imported_names(tree, known):
    """(name here, (module, name there)) of each `from module import name` of the project's, modules aside."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                if f"{node.module}.{alias.name}" not in known:
                    yield alias.asname or alias.name, (node.module, alias.name)


def attributes_of_modules(tree, known):
    """(module, name) of each `module.name` of an imported module of the project's."""
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name in known}
        elif isinstance(node, ast.ImportFrom):
            names = {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            modules |= {name: module for name, module in names.items() if module in known}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in modules:
            yield modules[ast.unparse(node.value)], node.attr


def undescribed(node, where):
    """A sentence for each parameter or return without annotation, and each missing docstring, of a function or of a
    class and its public methods."""
    if not ast.get_docstring(node) and not node.name.startswith("__"):
        yield f"{where}: it has no docstring"
    if isinstance(node, ast.ClassDef):
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and (method.name == "__init__" or not method.name.startswith("_")):
                yield from undescribed(method, f"{where}.{method.name}")
        return
    arguments = node.args
    parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg]
    for parameter in parameters:
        if parameter and parameter.annotation is None and parameter.arg not in ("self", "cls"):
            yield f"{where}: {parameter.arg} has no annotation"
    if node.returns is None and node.name != "__init__":
        yield f"{where}: its return has no annotation"


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


def test_no_two_classes_share_a_name():
    """Over the whole project, tests aside: a reader who looks for a class by its name lands on one."""
    assert len(classes(ROOT)) > 20
    assert not shared_names(ROOT)


def test_what_crosses_a_border_is_annotated_and_described():
    crossing = list(across_borders(ROOT))
    assert len(crossing) > 250
    assert not [fault for _, node, where in crossing for fault in undescribed(node, where)]


@pytest.fixture
def copied(tmp_path):
    """A copy of the project's Python files, to plant faults in."""
    for path in sources(ROOT).values():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "room, line, fault",
    [
        ("common", "from reports.compare import compare", "common.upward imports reports.compare"),
        ("agreement", "import common.errors", "agreement.upward imports common.errors"),
        ("networks", "def f():\n    from loaders import pairs", "networks.upward imports loaders.pairs"),
        ("scoring", "import run", "scoring.upward imports run"),
    ],
)
def test_an_upward_import_is_noticed(copied, room, line, fault):
    (copied / room / "upward.py").write_text(line + "\n")
    assert [f"{fault}, which does not stand below it"] == list(faults(graph(copied)))


def test_a_second_class_of_a_name_is_noticed(copied):
    (copied / "common" / "again.py").write_text("def f():\n    class Scorer:\n        pass\n")
    [(name, places)] = shared_names(copied).items()
    assert name == "Scorer" and "common.again, line 2" in places and len(places) == 2


@pytest.mark.parametrize(
    "text, fault",
    [
        ("def lengths(paths) -> list:\n    'In bytes.'", "paths has no annotation"),
        ("def lengths(*paths) -> list:\n    'In bytes.'", "paths has no annotation"),
        ("def lengths(paths: list):\n    'In bytes.'", "its return has no annotation"),
        ("def lengths(paths: list) -> list:\n    return paths", "it has no docstring"),
        ("class lengths:\n    x = 1", "it has no docstring"),
        ("class lengths:\n    'In bytes.'\n    def of(self, path) -> int:\n        '1'", "path has no annotation"),
    ],
)
@pytest.mark.parametrize(
    "line",
    [
        "from common.bare import lengths",
        "from common import bare\nx = bare.lengths",
        "import common.bare as b\nb.lengths",
    ],
)
def test_what_crosses_a_border_bare_is_noticed(tmp_path, text, fault, line):
    for file, content in (("common/bare.py", text), ("scoring/user.py", line)):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text(content + "\n")
    [noticed] = [fault for _, node, where in across_borders(tmp_path) for fault in undescribed(node, where)]
    assert noticed.startswith("common.bare.lengths") and noticed.endswith(fault)


def test_a_circle_is_noticed():
    assert set(circle({"a.b": {"a.c"}, "a.c": {"a.d"}, "a.d": {"a.b"}, "a": {"a.b"}})) == {"a.b", "a.c", "a.d"}


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
