"""Run csrc under sanitizers: of addresses, of undefined behaviour, of threads.

``make sanitize`` builds the extension in a copy of the project, with the first two, and
runs the op's tests and a sweep of shapes on every instruction set. ThreadSanitizer
would have to know torch's OpenMP, which it does not: so two plain threads share out the
rows, without torch. A fault planted for each sanitizer shows that it would have spoken.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from csrc_faults import ENVIRONMENT, ROOT, ROWS, build, copy_project

FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -g1"
LIBRARIES = "libasan.so", "libubsan.so", "libstdc++.so.6"
SWEEP = """
import hashlib, itertools, torch
from aelab import ops

digest = hashlib.sha1()
lengths = [*range(1, 71), 1023, 1024, 1025, 1026, 2051]
dtypes = [torch.float32, torch.float64, torch.bfloat16]
for d, rows, dtype in itertools.product(lengths, [0, 1, 4, 9], dtypes):
    n = 4 * rows * d
    x = (torch.arange(n) * 7919 % 9973).double().reshape(4, rows, d) / 1e3 - 5
    mu, logvar, eps, grad = x.to(dtype)
    leaves = mu.requires_grad_(), logvar.requires_grad_()
    torch.manual_seed(1)
    for noise in (None, eps):
        out = ops.reparam_kl(mu, logvar, noise)
        out += torch.autograd.grad(out, leaves, (grad, grad[:, 0]))
        for y in out:
            digest.update(y.detach().double().numpy().tobytes())
print(digest.hexdigest())
"""
THREADS = """
#include <cstdlib>
#include <thread>
#include <vector>

#include "rows.h"

int main(int, char** arguments) {
  const int64_t count = 64, d = 41, cut = 32, overlap = std::atoi(arguments[1]);
  const int64_t seed[2] = {1, 2};
  const std::vector<float> in(count * d, 0.5f);
  std::vector<float> z(count * d), kl(count), grad_mu(z), grad_logvar(z);
  aelab::Rows<float> rows = {d, seed, in.data(), in.data(), nullptr};
  rows.z = z.data(), rows.kl = kl.data();
  rows.grad_z = rows.grad_kl = in.data();
  rows.grad_mu = grad_mu.data(), rows.grad_logvar = grad_logvar.data();
  const aelab::Loops<float>& loops = aelab::kernels_default;
  for (const auto loop : {loops.forward, loops.backward}) {
    std::thread first([&] { loop(rows, 0, cut + overlap); });
    std::thread second([&] { loop(rows, cut, count); });
    first.join(), second.join();
  }
}
"""
# What a sanitizer says: (text that stands once in rows.cpp, text of the fault)
FAULTS = {
    "heap-buffer-overflow": (
        "i < n; ++i) {\n    const A m = widen(mu[i]);",
        "i <= n; ++i) {\n    const A m = widen(mu[i]);",
    ),
    "signed integer overflow": ("fit = kChunk / x.d;", "fit = INT64_MAX + x.d;"),
}


def run(copy, *arguments, **variables):
    """Run Python in the copy; return its exit status and all that it said."""
    asked = [["c++", f"-print-file-name={library}"] for library in LIBRARIES]
    paths = [subprocess.check_output(c, text=True).strip() for c in asked]
    environment = {
        **ENVIRONMENT,
        **variables,
        "PYTHONPATH": str(copy),
        "LD_PRELOAD": " ".join(paths),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps memory to its end
    }
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout


def check_addresses(copy):
    copy_project(copy, FLAGS)
    build(copy)
    _, said = run(copy, "-c", "from aelab import ops; print(ops._C.__file__)")
    assert said.startswith(str(copy)), f"the tests would see {said}"
    # The test of torch.compile is left out: it would run the compiler under ASan.
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not compiled_gives"]
    status, said = run(copy, *tests, "tests/test_ops.py")
    assert status == 0, f"exit status {status}: {said}"
    print(said.splitlines()[-1], flush=True)
    digests = set()
    for capability in ("default", "avx2", "best"):
        asked = {} if capability == "best" else {"ATEN_CPU_CAPABILITY": capability}
        status, said = run(copy, "-c", SWEEP, **asked)
        print(f"sweep on {capability}: {said.strip()}", flush=True)
        assert status == 0, said
        digests.add(said)
    assert len(digests) == 1, "the instruction sets differ"
    text = (copy / ROWS).read_text()
    for name, (old, new) in FAULTS.items():
        assert text.count(old) == 1, f"rows.cpp has not exactly one {old!r}"
        (copy / ROWS).write_text(text.replace(old, new))
        build(copy)
        status, said = run(copy, "-c", SWEEP)
        assert status, f"{name}: planted, and not reported"
        assert name in said, said
        print(f"planted and reported: {name}", flush=True)


def check_threads(folder):
    source, program = folder / "threads.cpp", folder / "threads"
    source.write_text(THREADS)
    command = ["c++", "-std=c++20", "-O1", "-g1", "-fsanitize=thread"]
    command += ["-DAELAB_SET=kernels_default", "-I", ROOT / "csrc", source]
    subprocess.run([*command, ROOT / ROWS, "-o", program], check=True)
    for overlap in (0, 1):
        command = [program, str(overlap)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert ("data race" in done.stderr) == bool(overlap), done.stderr
    print("two threads share out the rows: no race; planted and reported: data race")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        check_threads(Path(folder))
        check_addresses(Path(folder))
