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


# The test vectors of Philox 4x32-10 that its authors publish (Random123, kat_vectors);
# then our counter, and the salt that keeps our words apart from those that torch draws.
PHILOX = """\
#include "philox.h"
bool same(Words a, Words b) { return std::memcmp(&a, &b, sizeof a) == 0; }
int main() {
  const uint32_t all = 0xFFFFFFFF;
  const Words none = {{0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8}};
  const Words ones = {{0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD}};
  const Words pi = {{0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1}};
  const Words counter = {{0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344}};
  const uint64_t group = 0x85A308D3243F6A88, offset = 0x0370734413198A2E;
  if (!same(philox4x32({{0, 0, 0, 0}}, 0, 0), none)) return 1;
  if (!same(philox4x32({{all, all, all, all}}, all, all), ones)) return 2;
  if (!same(philox4x32(counter, 0xA4093822, 0x299F31D0), pi)) return 3;
  const Seed salted = {0x299F31D0A4093822 ^ 0x61656C6162000000, offset};
  if (!same(noise_words(salted, group), pi)) return 4;
  if (same(noise_words({0x299F31D0A4093822, offset}, group), pi)) return 5;
}
"""
WORDS = """\
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
# Sums beside the middle between two floats, nearer than a double can tell; and any
# bits at all, infinities and NaN among them.
MULTIPLY_ADD = """\
#include <random>

#include "exponential.h"
bool same(float a, float b, float c) {
  const float ours = multiply_add(a, b, c), right = std::fma(a, b, c);
  const bool nan = ours != ours && right != right;
  return nan || std::memcmp(&ours, &right, sizeof ours) == 0;
}
int main() {
  for (int i = 1; i < 64; ++i) {
    const float a = 1 + i * 0x1p-23f, b = 0x1p-24f * (1 - i * 0x1p-23f);
    for (float c : {1 + i * 0x1p-23f, 1 + (i + 1) * 0x1p-23f}) {
      if (!same(a, b, c) || !same(a, b, -c) || !same(-a, b, c)) return 1;
    }
  }
  std::mt19937 bits(0);
  for (int i = 0; i < 1000000; ++i) {
    const uint32_t words[] = {uint32_t(bits()), uint32_t(bits()), uint32_t(bits())};
    float x[3];
    std::memcpy(x, words, sizeof x);
    if (!same(x[0], x[1], x[2])) return 2;
    if (!same(x[0], x[1], -x[0] * x[1])) return 3;
  }
}
"""
SETS = {
    "default": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx2", "-mfma", "-mavx512f"],
}


def run_cpp(text, name, folder):
    """Compile a program for an instruction set, and return its exit status."""
    names = list(SETS)
    if names.index(name) > names.index(best_set()):
        pytest.skip(f"the processor has no {name}")
    source, program = folder / "program.cpp", folder / "program"
    source.write_text(text)
    command = ["c++", "-std=c++20", "-O1", "-ffp-contract=off", *SETS[name]]
    command += ["-I", CSRC, source, "-o", program]
    subprocess.run(command, check=True, capture_output=True)
    return subprocess.run([program]).returncode


@fused
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a compiler")
def test_philox_gives_its_published_vectors(tmp_path):
    assert run_cpp(PHILOX, "default", tmp_path) == 0


@fused
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a compiler")
@pytest.mark.parametrize("name", SETS)
def test_words_on_vectors_are_the_plain_ones_however_far_out(name, tmp_path):
    # Rejects an index of 32 bits: no tensor in memory is long enough to show it.
    assert run_cpp(WORDS, name, tmp_path) == 0


@fused
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a compiler")
@pytest.mark.parametrize("name", SETS)
def test_a_product_and_sum_are_rounded_once(name, tmp_path):
    # Rejects (float)((double)a * b + c): rounded twice, it differs once in 1e9 times.
    assert run_cpp(MULTIPLY_ADD, name, tmp_path) == 0


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
