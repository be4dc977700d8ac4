"""What the C++ and CUDA sources promise as files and as a built library."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pybind11
import pytest
import torch

from aelab import ops

CSRC = Path(__file__).parent.parent / "csrc"
INCLUDE = Path(torch.__file__).parent / "include"
fused = pytest.mark.skipif(ops._C is None, reason="runs without the extension")
TORCH_FREE = ["exponential.h", "lanes.h", "philox.h", "reparam_kl.h"]
TORCH_FREE += ["rows.h", "rows.cpp"]
OBJECTS = sorted(CSRC.parent.glob("build/cmake-*/CMakeFiles/rows_*.dir/rows.cpp.o"))


@fused
def test_pybind11_is_the_registrys_and_not_the_one_in_torch():
    parts = pybind11.version_info[:2]
    assert ops._C.pybind11_version_hex >> 16 == parts[0] << 8 | parts[1]


@fused
def test_parallel_loops_use_the_threads_that_torch_has(threads):
    from aelab import _build

    for n in (1, 2):
        threads(n)
        assert ops._C.count_threads() == (n if _build.openmp else 1)


@fused
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_openmp_runtime_is_loaded():
    code = "import torch; from aelab import ops; print(open('/proc/self/maps').read())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    libraries = set(re.findall(r"/\S*lib[gi]?omp\S*", done.stdout))
    assert len(libraries) == 1, libraries


@fused
@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
def test_the_library_names_no_folder_of_the_machine_that_built_it():
    done = subprocess.run(
        ["readelf", "-d", ops._C.__file__], capture_output=True, text=True, check=True
    )
    assert re.findall(r"R(?:UN)?PATH.*\[(.*)\]", done.stdout) == [
        "$ORIGIN/../torch/lib"
    ]
    assert "libgomp" not in done.stdout, "torch brings its own"


@pytest.mark.parametrize("header", TORCH_FREE)
def test_mathematics_and_generator_know_nothing_of_torch(header):
    included = re.findall(r'#include [<"](.*)[>"]', (CSRC / header).read_text())
    assert included
    standard = {"algorithm", "cmath", "cstdint", "cstring", "type_traits"}
    standard.add("immintrin.h")  # of the compiler: the instructions by name
    assert set(included) <= standard | set(TORCH_FREE)


@fused
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
@pytest.mark.skipif(not OBJECTS, reason="was not built in this folder")
def test_the_loops_of_an_instruction_set_share_no_function():
    # Rejects an inline function outside the anonymous namespace: of the copies of
    # all sets the linker keeps one, and it may be one that this machine cannot run.
    for path in OBJECTS:
        done = subprocess.run(
            ["nm", "--demangle", "--defined-only", "--extern-only", path],
            capture_output=True,
            text=True,
            check=True,
        )
        name = path.parent.name.removesuffix(".dir").removeprefix("rows_")
        shared = [line.split(maxsplit=2)[2] for line in done.stdout.splitlines()]
        assert shared == [f"aelab::kernels_{name}"]


def test_no_header_that_triples_the_compile_time():
    for path in sorted(CSRC.iterdir()):
        assert not re.search(r"torch/(extension|all|torch)\.h", path.read_text()), path


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc on this machine")
def test_cuda_source_compiles_for_four_architectures(tmp_path):
    """Compile-checked is not run: whether the kernels are right needs a GPU."""
    # The CPU build of torch lacks one header, which only says how it was configured.
    stub = tmp_path / "c10/cuda/impl/cuda_cmake_macros.h"
    if not (INCLUDE / "c10/cuda/impl/cuda_cmake_macros.h").exists():
        stub.parent.mkdir(parents=True)
        stub.write_text("#pragma once\n")
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in (75, 80, 90, 120)]
    options = ["-std=c++20", "--expt-relaxed-constexpr", "--threads=2"]
    options += ["-isystem", INCLUDE, "-I", tmp_path]
    source, kernel = CSRC / "reparam_kl_cuda.cu", tmp_path / "kernel.o"
    done = subprocess.run(
        ["nvcc", "-c", source, *options, *targets, "-o", kernel],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert kernel.stat().st_size > 0
