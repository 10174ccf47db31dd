"""What keeps the repository as the design says: layers, mirroring, documented errors, no unsafe constructs."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.metadata
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from importlinter.cli import lint_imports

import dcap
from dcap.augment import OPS
from dcap.core.config import read_yaml
from dcap.core.errors import ConfigError
from dcap.core.schema import field_docs
from dcap.data.config import DataConfig
from dcap.model.config import ModelConfig
from dcap.train.config import RunConfig, TrainingConfig, build_run_config
from support.import_graph import circle_of, import_graph

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "python" / "dcap"
MODULES = sorted(SOURCES.rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
MAX_FUNCTION_LINES = 60
OPEN = {"model"}
"""What does not obey a rule of this file yet."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    # Trees that are kept would take more time, in each garbage collection, than it takes to parse again.
    return ast.parse(path.read_text("utf-8"))


def statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """Yield every statement at any depth. Expressions hold none, and are most of a tree."""
    todo = [tree]
    while todo:
        node = todo.pop()
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, name, [])
            todo += inner
            yield from (each for each in inner if isinstance(each, ast.stmt))


def test_layers_hold(capsys: pytest.CaptureFixture[str]) -> None:
    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "module", ["core", "kernels", "geometry", "augment", "evaluate", "cli.__main__", "train.config", "model.decoding"]
)
def test_importing_a_light_layer_loads_no_model_code(module: str) -> None:
    heavy = "{'torch', 'transformers', 'accelerate', 'peft'}"
    program = f"import sys, dcap.{module}; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert out.stdout.strip() == "[]"


UNTWINNED = {"grid", "pack", "record"}
"""Kernels whose fallback is plain Python or a library."""


def test_kernels_twins_and_tests_mirror_each_other() -> None:
    kernels = {p.stem for p in (ROOT / "cpp/src").glob("*.cpp")}
    twins = {p.stem for p in (SOURCES / "kernels/_numba").glob("*.py") if not p.stem.startswith("_")}
    tests = {p.stem.removeprefix("test_") for p in (ROOT / "tests/kernels").glob("test_*.py")}
    headers = {p.stem for p in (ROOT / "cpp/include/dcap").glob("*.hpp")}
    assert twins == kernels - UNTWINNED
    assert kernels <= tests
    assert kernels <= headers


def signatures(path: Path) -> dict[str, list[str]]:
    """Names of the public functions of a file with the names of their parameters."""
    functions = [node for node in parsed(path).body if isinstance(node, ast.FunctionDef)]
    return {
        f.name: [a.arg for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs)]
        for f in functions
        if not f.name.startswith("_")
    }


def test_the_stub_has_the_signatures_of_the_other_backend() -> None:
    stub = signatures(SOURCES / "_core.pyi")
    others = signatures(SOURCES / "kernels/plain.py")
    for path in (SOURCES / "kernels/_numba").glob("*.py"):
        others |= signatures(path)
    assert stub.pop("read_record")
    assert {name: others.get(name) for name in stub} == stub


def test_the_stub_names_what_the_core_has() -> None:
    core = pytest.importorskip("dcap._core", reason="installed without a compiler")
    public = {name for name in dir(core) if not name.startswith("_")}
    assert public == set(signatures(SOURCES / "_core.pyi"))


def test_versions_agree() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest
    assert dcap.__version__ == importlib.metadata.version("dcap") == newest[1]


def test_the_source_tree_is_the_installed_version() -> None:
    source = re.search(r'^__version__ = "(.+)"', (SOURCES / "__init__.py").read_text("utf-8"), re.MULTILINE)
    assert source
    assert source[1] == dcap.__version__


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {re.match(r"[\w.-]+", line)[0].lower() for group in groups for line in group} - {"dcap"}
    pins = re.findall(r"^([\w.-]+)==[\w.]+$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert wanted - {re.sub(r"[_.]", "-", name).lower() for name in pins} == set()


def public_functions(tree: ast.AST) -> Iterator[FunctionNode]:
    """Module-level functions and methods whose name, and whose class's name, is public."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, FunctionNode) and not node.name.startswith("_"):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node)


def own_nodes(function: FunctionNode) -> Iterator[ast.AST]:
    """All nodes of a function but those of functions defined inside it."""
    todo = list(ast.iter_child_nodes(function))
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, FunctionNode | ast.Lambda | ast.ClassDef):
            todo += ast.iter_child_nodes(node)


def raised_names(function: FunctionNode) -> set[str]:
    raises = [node.exc for node in own_nodes(function) if isinstance(node, ast.Raise) and node.exc]
    calls = [r.func if isinstance(r, ast.Call) else r for r in raises]
    return {c.id for c in calls if isinstance(c, ast.Name) and c.id[0].isupper()}


def undocumented_raises(tree: ast.Module) -> list[str]:
    missing = []
    for function in public_functions(tree):
        documented = (ast.get_docstring(function) or "").partition("Raises:")[2]
        absent = [n for n in raised_names(function) if not re.search(rf"^\s+{n}:", documented, re.MULTILINE)]
        missing += [f"line {function.lineno}: {function.name} does not document {n}" for n in absent]
    return missing


@pytest.fixture(scope="module", params=MODULES, ids=name_of)
def tree(request: pytest.FixtureRequest) -> ast.Module:
    """The syntax tree of each file of the package, read once for all tests of it."""
    return parsed(request.param)


def test_public_functions_document_what_they_raise(tree: ast.Module) -> None:
    assert undocumented_raises(tree) == []


def unsafe(tree: ast.Module) -> list[str]:
    """Constructs that dcap does without: broad excepts, code from data, shell commands."""
    return [f"line {node.lineno}: {word}" for node in ast.walk(tree) if (word := unsafe_word(node))]


def dotted(node: ast.expr) -> str:
    """``a.b.c`` as it is written; anything else is of no name. Many times faster than `ast.unparse`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unsafe_word(node: ast.AST) -> str:
    if isinstance(node, ast.ExceptHandler):
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        broad = any(c is None or ast.unparse(c) in ("Exception", "BaseException") for c in caught)
        return "broad except" if broad and not raises_on(node) else ""
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = {getattr(node, "module", None), *(alias.name for alias in node.names)}
        return "import of pickle" if names & {"pickle", "cloudpickle", "dill", "marshal", "shelve"} else ""
    if isinstance(node, ast.Call):
        called = dotted(node.func)
        keywords = {k.arg: k.value for k in node.keywords}
        if called in ("eval", "exec", "torch.load", "os.system", "yaml.unsafe_load"):
            return called
        if called == "yaml.load" and "Loader" not in keywords:
            return "yaml.load without a loader"
        wrong = ((k, ast.unparse(v)) for k, v in keywords.items() if k in FALSE_ONLY)
        return next((f"{k}={v}" for k, v in wrong if v != "False"), "")
    return ""


def raises_on(handler: ast.ExceptHandler) -> bool:
    """Whether a handler ends by raising what it caught, or an error whose cause that is."""
    last = handler.body[-1]
    if not isinstance(last, ast.Raise):
        return False
    return last.exc is None or (isinstance(last.cause, ast.Name) and last.cause.id == handler.name)


FALSE_ONLY = ("trust_remote_code", "shell", "allow_pickle")


def test_no_unsafe_construct(tree: ast.Module) -> None:
    assert unsafe(tree) == []


def test_the_checks_see_what_they_look_for() -> None:
    documented = 'def f():\n    """X.\n\n    Raises:\n        KeyError: Never.\n    """\n    raise {}()\n'
    assert undocumented_raises(ast.parse(documented.format("KeyError"))) == []
    assert undocumented_raises(ast.parse(documented.format("ValueError"))) == ["line 1: f does not document ValueError"]
    for bad in (
        "try:\n    f()\nexcept:\n    pass",
        "try:\n    f()\nexcept (KeyError, Exception):\n    return_ = 1",
        "try:\n    f()\nexcept Exception as e:\n    raise ValueError",
        "try:\n    f()\nexcept Exception as e:\n    raise ValueError from None",
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "torch.load('x')",
        "load('x', trust_remote_code=True)",
        "run('x', shell=flag)",
        "yaml.load(text)",
    ):
        assert unsafe(ast.parse(bad)), bad
    for good in (
        "try:\n    f()\nexcept BaseException:\n    undo()\n    raise",
        "try:\n    f()\nexcept Exception as e:\n    raise ValueError from e",
        "model.eval()",
        "run(x, shell=False)",
    ):
        assert unsafe(ast.parse(good)) == [], good


def test_no_module_imports_itself_through_others() -> None:
    assert circle_of(import_graph()) == []


def test_no_function_is_too_long() -> None:
    paths = (path for folder in ("python", "tests", "benchmarks", ".ci") for path in (ROOT / folder).rglob("*.py"))
    lengths = {
        f"{name_of(path)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in paths
        for node in statements(parsed(path))
        if isinstance(node, FunctionNode)
    }
    assert {name: n for name, n in lengths.items() if n > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name == "__init__.py" and path.parent.name not in OPEN], ids=name_of
)
def test_every_package_says_what_it_gives(path: Path) -> None:
    assert ast.get_docstring(parsed(path))
    package = importlib.import_module(".".join(path.parent.relative_to(SOURCES.parent).parts))
    assert all(hasattr(package, name) for name in package.__all__)


COMMAND_PARTS = {"add_parser", "build_parser", "main", "merge", "run"}
"""What each command of the command line has under the same name."""


def test_no_two_rooms_have_something_public_of_one_name() -> None:
    rooms: dict[str, set[str]] = {}
    for path in MODULES:
        room = path.relative_to(SOURCES).parts[0]
        for node in parsed(path).body:
            # A kernel's twin has the name of the function that calls it.
            if isinstance(node, FunctionNode | ast.ClassDef) and not node.name.startswith("_") and room != "kernels":
                rooms.setdefault(node.name, set()).add(room)
    twice = {
        name: sorted(found) for name, found in rooms.items() if len(found) > 1 and name not in COMMAND_PARTS | OPEN
    }
    assert twice == {}


def config_classes(kind: Any) -> Iterator[type]:
    """Yield the dataclasses that a type is made of, wherever they are written."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        yield kind
        for hint in get_type_hints(kind).values():
            yield from config_classes(hint)
    for part in get_args(kind):
        yield from config_classes(part)


@pytest.mark.parametrize("cls", sorted(set(config_classes(RunConfig)), key=str), ids=lambda cls: cls.__name__)
def test_every_config_field_has_a_doc_string(cls: type) -> None:
    docs = field_docs(cls)
    assert [field.name for field in dataclasses.fields(cls) if not docs.get(field.name)] == []


GIVEN = {"model": ModelConfig("m"), "data": DataConfig(train="a.jsonl"), "training": TrainingConfig("runs")}
"""Values of fields that have no default; others take a text."""


@pytest.mark.parametrize("cls", sorted(set(config_classes(RunConfig)), key=str), ids=lambda cls: cls.__name__)
def test_a_config_that_is_made_in_code_is_checked(cls: type) -> None:
    fields = dataclasses.fields(cls)
    needed = {f.name: GIVEN.get(f.name, "text") for f in fields if f.default is f.default_factory}
    for field in fields:
        with pytest.raises(ConfigError, match=rf"^{field.name} must be "):
            cls(**{**needed, field.name: object()})


SHIPPED_OPS = {OPS.get(name) for name in OPS if OPS.get(name).__module__.startswith("dcap.")}


@pytest.mark.parametrize(
    "cls", sorted({*config_classes(RunConfig), *SHIPPED_OPS}, key=str), ids=lambda cls: cls.__name__
)
def test_no_value_is_called_null_in_the_docs_of_the_config(cls: type) -> None:
    """The texts say null for no value. A choice that is named none is in ``quotes``."""
    unquoted = {name: re.sub(r"``[^`]+``", "", doc) for name, doc in field_docs(cls).items()}
    assert {name: doc for name, doc in unquoted.items() if re.search(r"\bnone\b", doc, re.IGNORECASE)} == {}


def test_the_config_has_all_its_parts() -> None:
    names = {cls.__name__ for cls in config_classes(RunConfig)}
    parts = {"DataConfig", "AnswerProfile", "PromptConfig", "PreprocessorConfig", "AugmentConfig", "TrainingConfig"}
    assert parts <= names


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_every_shipped_config_begins_with_its_launch_line(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    comment = "\n".join(itertools.takewhile(lambda line: line.startswith("#"), lines))
    assert re.search(rf"(dcap train|-m dcap\.train) {name_of(path)}\b", comment)


@pytest.mark.parametrize("path", [p for p in CONFIGS if not p.name.startswith("_")], ids=name_of)
def test_every_shipped_config_is_a_run(path: Path) -> None:
    assert build_run_config(read_yaml(path), (), path.name).training.output_dir


def test_configs_are_shipped() -> None:
    assert CONFIGS
