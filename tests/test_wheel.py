"""What a user gets: contents of wheel and source distribution, and an install without a compiler."""

from __future__ import annotations

import email
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import dcap

pytestmark = pytest.mark.timeout(900)  # a compiler takes minutes on a loaded machine
ROOT = Path(__file__).parents[1]
BUILD_INPUTS = ("pyproject.toml", "README.md", "LICENSE", "CMakeLists.txt", "cpp", "python")
NOT_SOURCE = shutil.ignore_patterns("__pycache__", "*.so", "*.pyc")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build reads, so that nothing built earlier can get into it."""
    folder = tmp_path_factory.mktemp("source")
    for name in BUILD_INPUTS:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, folder / name, ignore=NOT_SOURCE)
        else:
            shutil.copy(path, folder / name)
    return folder


QUICK_COMPILER = """#!/bin/sh
# Compiles a source of dcap as if it were empty, but fails if something that it includes is missing.
case "$*" in
*_core.dir/*" -c "* | *_kernels.dir/*" -c "*)
    {compiler} -E "$@" > /dev/null || exit 1
    while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done
    exec {compiler} -x c++ -fPIC -c /dev/null -o "$out";;
esac
exec {compiler} "$@"
"""


def build_wheel(source: Path, out: Path, **environment: str) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index"]
    command.append("--config-settings=cmake.build-type=Debug")
    # CMake and Ninja of this environment come first, as they would in an isolated build.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [*command, "--wheel-dir", str(out), str(source)],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=850,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel with an empty core: that the core compiles is shown by the one that the other tests run on."""
    out = tmp_path_factory.mktemp("wheel")
    compiler = out / "compiler"
    compiler.write_text(QUICK_COMPILER.format(compiler=os.environ.get("CXX", "c++")))
    compiler.chmod(0o755)
    return zipfile.ZipFile(build_wheel(source, out, CXX=str(compiler)))


@pytest.fixture(scope="module")
def fallback_wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("fallback")
    return zipfile.ZipFile(build_wheel(source, out, CC="/bin/false", CXX="/bin/false"))


def package_files(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if name.startswith("dcap/") and not name.endswith("/")}


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    return wheel.read(f"dcap-{dcap.__version__}.dist-info/{name}").decode("utf-8")


def test_the_wheel_is_the_package_and_its_core(source: Path, wheel: zipfile.ZipFile) -> None:
    python = source / "python"
    sources = {p.relative_to(python).as_posix() for p in python.rglob("*") if p.is_file()}
    (core,) = package_files(wheel) - sources
    assert core.startswith("dcap/_core.")
    assert core.endswith(".so")
    assert sources <= package_files(wheel)


def test_the_wheel_has_no_tests_and_no_cpp(wheel: zipfile.ZipFile) -> None:
    assert {name.partition("/")[0] for name in wheel.namelist()} == {"dcap", f"dcap-{dcap.__version__}.dist-info"}
    unwanted = (".cpp", ".hpp", ".txt.in", ".cmake", ".pyc", ".a")
    assert [name for name in wheel.namelist() if name.endswith(unwanted) or "test" in name] == []


@pytest.mark.parametrize(
    "name",
    [
        "_core.pyi",
        "py.typed",
        "guide/training.md",
        "assets/photos/ATTRIBUTION.md",
        "assets/photos/train.jsonl",
        "assets/photos/val.jsonl",
        "assets/photos/images/coffee.png",
    ],
)
def test_the_wheel_has(name: str, wheel: zipfile.ZipFile) -> None:
    assert f"dcap/{name}" in package_files(wheel)


def test_the_bundled_records_find_their_images(wheel: zipfile.ZipFile) -> None:
    for split in ("train", "val"):
        lines = wheel.read(f"dcap/assets/photos/{split}.jsonl").decode("utf-8").splitlines()
        images = {f"dcap/assets/photos/{path}" for line in lines for path in json.loads(line)["images"]}
        assert images
        assert images <= package_files(wheel)


def test_the_metadata_states_licence_version_and_extras(wheel: zipfile.ZipFile) -> None:
    message: Message = email.message_from_string(metadata(wheel, "METADATA"))
    assert message["Version"] == dcap.__version__
    assert message["License-Expression"] == "Apache-2.0"
    assert message.get_all("License-File") == ["LICENSE"]
    assert "Apache License" in metadata(wheel, "licenses/LICENSE")
    extras = {"train", "quantized", "demo", "formats", "eval", "test", "bench", "dev"}
    assert set(message.get_all("Provides-Extra")) == extras
    base = [line for line in message.get_all("Requires-Dist") if "extra ==" not in line]
    assert [line for line in base if line.startswith(("torch", "transformers", "peft", "accelerate"))] == []
    assert "dcap = dcap.cli.__main__:main" in metadata(wheel, "entry_points.txt").replace("=dcap", "= dcap")


def test_the_source_distribution_can_be_built_from(source: Path, tmp_path: Path) -> None:
    program = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=source, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml", "python/dcap/_core.pyi"} <= names
    for folder in ("cpp/src", "cpp/bindings", "cpp/include/dcap"):
        assert {f"{folder}/{p.name}" for p in (source / folder).iterdir() if p.is_file()} <= names


@pytest.fixture(scope="module")
def fallback_python(fallback_wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of an environment with dcap installed without a compiler, and all its requirements."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    fallback_wheel.extractall(site)
    # Plain paths: editable hooks of this environment are not run there, so its dcap cannot be seen.
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "requirements.pth").write_text("\n".join(others) + "\n", "utf-8")
    return folder / "bin" / "python"


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("DCAP_BACKEND", "PYTHONPATH")}
    return subprocess.run(
        [str(python), *arguments], env=environment, cwd=python.parent, capture_output=True, text=True, check=False
    )


def test_without_a_compiler_the_wheel_is_pure_python(fallback_wheel: zipfile.ZipFile, wheel: zipfile.ZipFile) -> None:
    assert "Root-Is-Purelib: true" in metadata(fallback_wheel, "WHEEL")
    assert {n for n in package_files(wheel) if not n.endswith(".so")} == package_files(fallback_wheel)


def test_without_a_compiler_the_geometry_runs_on_numba(fallback_python: Path) -> None:
    program = """
import json
from dcap import kernels
from dcap.geometry import Affine, ShapeArray, transform
shapes = ShapeArray.from_objects([{"bbox_2d": [-10, 0, 10, 20]}])
print(kernels.__file__, kernels.BACKEND, json.dumps(transform(shapes, Affine.scaling(2)).to_objects()))
"""
    done = run(fallback_python, "-c", program)
    file, backend, objects = done.stdout.split(maxsplit=2)
    assert Path(file).is_relative_to(fallback_python.parents[1]), done.stderr
    assert (backend, json.loads(objects)) == ("numba", [{"bbox_2d": [-20.0, 0.0, 20.0, 40.0]}])


def test_without_a_compiler_doctor_says_so(fallback_python: Path) -> None:
    program = """
import sys
sys.modules["torch"] = None  # importing it takes most of the time
from dcap.cli.__main__ import main
sys.exit(main(["doctor", "--json"]))
"""
    done = run(fallback_python, "-c", program)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["kernels"]["backend"] == "numba"
    assert "compiler" in report["kernels"]["why"]
    assert any("g++" in line for line in report["advice"])


def test_a_forced_core_that_is_missing_is_an_error_not_a_fallback(fallback_python: Path) -> None:
    program = "import os; os.environ['DCAP_BACKEND'] = 'cpp'; import dcap.kernels"
    done = run(fallback_python, "-c", program)
    assert done.returncode != 0
    assert "ImportError" in done.stderr
