"""What the C++ and CUDA sources promise as files and as a built library."""

import os
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


WORDS = """
#include <initializer_list>

#include "lanes.h"
int main() {
  const Seed seed = {0x243F6A8885A308D3, 0x13198A2E03707344};
  for (uint64_t group : {uint64_t{0}, (uint64_t{1} << 32) - 9, uint64_t{1} << 45}) {
    uint32_t word[4][kGroups];
    words_of_groups(seed, group, word);
    for (int i = 0; i < kGroups; ++i) {
      const Words plain = noise_words(seed, group + i);
      for (int j = 0; j < 4; ++j) {
        if (word[j][i] != plain.w[j]) return 1;
      }
    }
  }
}
"""
SETS = {"default": [], "avx2": ["-mavx2"], "avx512": ["-mavx2", "-mavx512f"]}


@fused
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a compiler")
@pytest.mark.parametrize("name", SETS)
def test_words_on_vectors_are_the_plain_ones_however_far_out(name, tmp_path):
    # Rejects an index of 32 bits: no tensor in memory is long enough to show it.
    names = list(SETS)
    if names.index(name) > names.index(best_set()):
        pytest.skip(f"the processor has no {name}")
    source, program = tmp_path / "words.cpp", tmp_path / "words"
    source.write_text(WORDS)
    command = ["c++", "-std=c++20", "-O1", *SETS[name], "-I", CSRC, source]
    subprocess.run([*command, "-o", program], check=True, capture_output=True)
    assert subprocess.run([program]).returncode == 0


def best_set():
    """The instruction set that torch would use, were it not told another one."""
    environment = {k: v for k, v in os.environ.items() if k != "ATEN_CPU_CAPABILITY"}
    code = "import torch; print(torch.backends.cpu.get_cpu_capability().lower())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


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
