"""Plant faults in the op, one at a time, and see which test rejects each of them.

``make faults`` tries all of them. ``python tests/csrc_faults.py WORD ...`` tries those
that have one of the words in their name or their file's. It works in a copy of the
project, in a temporary folder, and compiles again only what a fault touches.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pybind11

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("aelab", "csrc", "tests", "pyproject.toml")
LIMIT = 300  # seconds for the tests of one fault
# Drops the editable installation: in the copy, aelab is the copy.
STARTUP = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "_editable_" not in type(f).__module__]
"""

BUILT = "build/cmake-faults"  # where tests/test_csrc.py looks for object files
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
    "AELAB_EXTENSION": "require",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONDONTWRITEBYTECODE": "1",
    "COLUMNS": "400",  # pytest's summary in full
}

PHILOX, EXP, MATHS = "csrc/philox.h", "csrc/exponential.h", "csrc/reparam_kl.h"
LANES, ROWS, CPU = "csrc/lanes.h", "csrc/rows.cpp", "csrc/reparam_kl_cpu.cpp"
OP, CHECKS, EAGER = "csrc/op.h", "csrc/checks.h", "csrc/eager.cpp"
PYTHON, BUILD = "aelab/ops.py", "csrc/CMakeLists.txt"

# name: (file, text that stands there once, text of the fault)
FAULTS = {
    # The mathematics.
    "no 1/2 in kl": (MATHS, "half.minus_one) / 2 +", "half.minus_one) +"),
    "grad_kl dropped from dmu": (
        MATHS, "multiply_add(grad_kl, mu, grad_z)", "grad_z"),
    "wrong sign in dlogvar": (
        MATHS, "grad_kl * half.minus_one * (", "-grad_kl * half.minus_one * ("),
    "-1 dropped from dlogvar": (
        MATHS, "grad_kl * half.minus_one *", "grad_kl * half.exp *"),
    "std for std / 2 in dlogvar": (
        MATHS, "multiply_add(grad_z * eps", "multiply_add(2 * grad_z * eps"),
    "-eps in z": (MATHS, "multiply_add(half.exp", "multiply_add(-half.exp"),
    # The loops.
    "tail of a sum skipped": (
        ROWS, "for (; i < n; ++i) {\n    total", "for (; i + 1 < n; ++i) {\n    total"),
    "element before the tail added twice": (
        ROWS, "for (; i < n; ++i) {\n    total",
        "for (i -= i > 0; i < n; ++i) {\n    total"),
    "chunk one element short": (
        ROWS, "std::min(kChunk, last - first)", "std::min(kChunk - 1, last - first)"),
    "sum of the last chunk alone": (
        ROWS, "(first == row * x.d ? 0 : total) + sum", "sum"),
    "sum carried to the next row": (
        ROWS, "(first == row * x.d ? 0 : total) + sum", "total + sum"),
    "chunks summed in float": (ROWS, "double total = 0;", "float total = 0;"),
    "rows of eight summed as rows of four": (
        ROWS, "loop(std::integral_constant<int64_t, 8>())",
        "loop(std::integral_constant<int64_t, 4>())"),
    "first row's grad_kl for all": (ROWS, "x.grad_kl[row + i]", "x.grad_kl[row]"),
    "first row's eps for all": (ROWS, "x.eps + first", "x.eps + first % x.d"),
    "noise drawn anew for each chunk": (
        ROWS, "draw(seed, first, n, &noise)",
        "draw(seed, first - row * x.d, n, &noise)"),
    "noise counted from a thread's first row": (
        ROWS, "draw(seed, first, n, &noise)",
        "draw(seed, first - begin * x.d, n, &noise)"),
    "noise begins at its group": (
        ROWS, "noise->value + (first - 4 * begin)", "noise->value"),
    "last group of a chunk not drawn": (
        ROWS, "(first + n + 3) / 4", "(first + n) / 4"),
    "wrong counter stride": (
        ROWS, "words_of_groups(seed, group, word)",
        "words_of_groups(seed, 4 * group, word)"),
    "bfloat16 truncated": (
        ROWS, "(bits + 0x7FFF + (bits >> 16 & 1)) >> 16", "bits >> 16"),
    "bfloat16 rounded half up": (
        ROWS, "(bits + 0x7FFF + (bits >> 16 & 1)) >> 16", "(bits + 0x8000) >> 16"),
    "NaN of bfloat16 becomes infinite": (ROWS, "x != x ? 0x7FC0", "x != x ? 0x7F80"),
    "as many sums as an AVX2 register has": (
        ROWS, "constexpr int64_t kLanes = 16;",
        "\n#if defined(__AVX2__) && !defined(__AVX512F__)\n"
        "constexpr int64_t kLanes = 8;\n"
        "#else\nconstexpr int64_t kLanes = 16;\n#endif\n"),
    "a function shared among the sets": (
        ROWS, "const aelab::Kernels aelab",
        "__attribute__((used)) inline void shared() {}\n\nconst aelab::Kernels aelab"),
    "contraction to fused multiply-adds": (BUILD, "-ffp-contract=off -fno", "-fno"),
    # The generator on vectors.
    "an AVX2 product of its own": (
        LANES, "_mm256_set1_epi64x(y)", "_mm256_set1_epi64x(y ^ 4)"),
    "an AVX-512 turn counted wrongly": (
        LANES, "group + first + turn * kWidth",
        "group + first + turn * (kWidth == 8 ? 7 : kWidth)"),
    "vectors forget the index's upper half": (
        LANES, "c1[turn] = c0[turn] >> 32", "c1[turn] = Lanes{}"),
    "a plain group counted wrongly": (
        LANES, "= noise_words(seed, group + i);",
        "= noise_words(seed, group + (i | 1));"),
    # The generator.
    "nine rounds": (PHILOX, "kRounds = 10", "kRounds = 9"),
    "a digit of Philox": (PHILOX, "0xCD9E8D57", "0xCD9E8D75"),
    "no salt": (PHILOX, "kSalt = 0x61656C6162000000", "kSalt = 0"),
    "the index's upper half dropped": (
        PHILOX, "static_cast<uint32_t>(group >> 32)", "0"),
    "wrong sign bit": (PHILOX, "word1 & 0x80000000", "word1 << 1 & 0x80000000"),
    "wrong swap bit": (PHILOX, "(word1 & 0x40000000)", "(word1 & 0x20000000)"),
    "radius from the angle's word": (PHILOX, "word0 >> 1 | 1", "word1 >> 1 | 1"),
    "a last digit of the sine": (PHILOX, "-0.16666655f", "-0.16666555f"),
    "a last digit of the cosine": (PHILOX, "0.0416666469f", "0.0416646469f"),
    "a last digit of the logarithm": (PHILOX, "0.33333408f", "0.33343408f"),
    # The exponential.
    "expm1 without its digits": (
        EXP, "2 * multiply_add(expm1, scale, scale - T(0.5))",
        "2 * multiply_add(expm1, scale, scale) - 1"),
    "2^k instead of its half": (
        EXP, "scale = power_of_two<T>(k - 1)", "scale = power_of_two<T>(k) / 2"),
    "float: the smallest numbers clamped": (EXP, "-87.5f", "-60.0f"),
    "plain twin rounds twice": (
        EXP, "sum_bits = (sum_bits - beyond) | inexact;", ""),
    "plain twin moves to the wrong neighbour": (
        EXP, "(sum_bits - beyond) | inexact", "(sum_bits + beyond) | inexact"),
    "plain twin makes NaN of infinite": (
        EXP, "((0 - size) & ~(infinite - size)) >> 63", "(0 - size) >> 63"),
    "exp(x) - 1 - x without its digits": (
        EXP, "k == 0 ? excess : minus_one - x", "minus_one - x"),
    "NaN clamped": (
        EXP, "x < F::smallest ? F::smallest : x", "x > F::smallest ? x : F::smallest"),
    "float: lower part of ln 2 dropped": (EXP, "1.42860677e-6f", "0.0f"),
    "double: lower part of ln 2 dropped": (EXP, "1.9082149292705877e-10", "0.0"),
    "double: a series too short": (
        EXP, "terms = 14;\n  static constexpr int64_t factorial = 87178291200",
        "terms = 11;\n  static constexpr int64_t factorial = 39916800"),
    # The op around its kernels.
    "second word of the seed not drawn": (
        CPU, "[i] = word(source)", "[i] = i == 0 ? word(source) : 0"),
    "words of the seed swapped": (CPU, "(seed)[i] =", "(seed)[1 - i] ="),
    "stale seed": (
        CPU, "    for (int i = 0; i < 2; ++i) {",
        "    static auto kept = source->get_state();\n"
        "    source->set_state(*kept);\n    for (int i = 0; i < 2; ++i) {"),
    "generator ignored": (
        CPU, "        generator, at::detail", "        std::nullopt, at::detail"),
    "AVX-512 although AVX2 is asked for": (
        CPU, "return aelab::kernels_avx2;", "return aelab::kernels_avx512;"),
    "last row of a thread left out": (
        CPU, "loop(rows, begin, end)", "loop(rows, begin, end - (end < count))"),
    "first axis for last": (OP, "inputs.mu.size(-1)", "inputs.mu.size(0)"),
    "contiguous() dropped": (OP, "logvar(logvar.contiguous())", "logvar(logvar)"),
    "contiguous() of a gradient dropped": (
        OP, "gz = grad_z.contiguous()", "gz = grad_z"),
    "kl of empty rows left as it is": (OP, "kl.zero_()", "kl"),
    "seed drawn although eps is given": (OP, "if (!eps) {", "if (true) {"),
    "shapes of one size taken for one": (
        CHECKS, "mu.sizes() == x.sizes()", "mu.numel() == x.numel()"),
    "dtypes not compared": (CHECKS, "mu.scalar_type() == x.scalar_type()", "true"),
    "devices not compared": (CHECKS, "mu.device() == x.device()", "true"),
    "eps not checked": (CHECKS, '*eps, "eps"', 'mu, "eps"'),
    "device of grad_kl not checked": (
        CHECKS, "grad_kl.device() == mu.device()", "true"),
    "device of seed not checked": (CHECKS, "seed.device() == mu.device()", "true"),
    "dtype of grad_kl not checked": (
        CHECKS, "grad_kl.scalar_type() == mu.scalar_type()", "true"),
    "seed not checked": (CHECKS, "  check_seed(mu, seed);", ""),
    "size of grad_kl not checked": (
        CHECKS, "grad_kl.sizes() == mu.sizes().slice(0, mu.dim() - 1)", "true"),
    # The short road, and derivatives in Python.
    "gradient of eps dropped": (
        EAGER, "if (eps && task_should_compute_output(2))", "if (false)"),
    "variance for std in the gradient of eps": (
        EAGER, "logvar.div(2).exp()", "logvar.exp()"),
    "gradient of an unused kl is one": (
        EAGER, "at::zeros(rows, mu.options())",
        "at::zeros(rows, mu.options()).add_(1)"),
    "backward draws from another seed": (
        EAGER, "eps, seed_);", "eps, at::zeros_like(seed_));"),
    "no derivative of the derivative": (
        EAGER, "if (!at::GradMode::is_enabled())", "if (true)"),
    "compiled autograd keeps its first seed": (
        EAGER, "visit(eps_), visit(seed_)", "visit(eps_)"),
    "forward AD unseen": (
        EAGER, "!x._fw_grad(/*level=*/0).defined()", "true"),
    "std for std / 2 in the second derivative": (
        PYTHON, "a + b * eps * std / 2,", "a + b * eps * std,"),
    "1/2 dropped from the second derivative": (
        PYTHON, "(gz * eps * std / 2 +", "(gz * eps * std +"),
}  # fmt: skip


def execute(*command, **options):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, **options
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def copy_project(copy, flags=""):
    """Copy what is built and tested, and configure its build."""
    ignored = shutil.ignore_patterns("__pycache__", "_C*.so")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)
    (copy / "sitecustomize.py").write_text(STARTUP)
    configure = ["cmake", "-G", "Ninja", "-S", copy / "csrc", "-B", copy / BUILT]
    configure += [f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"]
    configure += [f"-DPython_EXECUTABLE={sys.executable}", "-DCMAKE_BUILD_TYPE=Release"]
    configure += [f"-DCMAKE_CXX_FLAGS={flags}"]
    execute(*configure, env=ENVIRONMENT)


def build(copy):
    """Compile what is out of date, and put it into the copy."""
    execute("ninja", "-C", copy / BUILT, "-j2", env=ENVIRONMENT)
    execute("cmake", "--install", copy / BUILT, "--prefix", copy, env=ENVIRONMENT)


def verdict(copy):
    """What the first test that fails says, or None where all pass."""
    tests = ["tests/test_ops.py", "tests/test_csrc.py"]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["-k", "not cuda_source", *tests]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(copy)}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True,
            timeout=LIMIT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "the time limit"
    if done.returncode == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) .*?::(\S+.*)$", done.stdout, re.MULTILINE)
    if failed:
        test, _, says = failed[1].partition(" - ")
        lines = re.findall(r"^E +(?:\w+Error: )?(.*)$", done.stdout, re.MULTILINE)
        return f"{test.removeprefix('test_')}: {(says or lines[0])}"
    if done.returncode < 0:
        return f"the end of the process by signal {-done.returncode}"
    raise RuntimeError(f"no test ran:\n{done.stdout}{done.stderr}")


def planted(copy, name):
    """Return the path, the text and the text with the fault."""
    file, old, new = FAULTS[name]
    text = (copy / file).read_text()
    if text.count(old) != 1:
        raise ValueError(f"{name}: {file} has not exactly one {old!r}")
    return copy / file, text, text.replace(old, new)


def main(words):
    said = {name: f"{name} {FAULTS[name][0]}" for name in FAULTS}
    names = [n for n in FAULTS if not words or any(word in said[n] for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        copy_project(copy)
        for name in names:
            planted(copy, name)  # a fault that has lost its place fails first
        build(copy)
        code = "from aelab import ops; print(ops._C.__file__)"
        environment = {**ENVIRONMENT, "PYTHONPATH": str(copy)}
        where = execute(sys.executable, "-c", code, cwd=copy, env=environment)
        assert where.startswith(str(copy)), f"the tests would see {where}"
        reason = verdict(copy)
        assert reason is None, f"the original fails: {reason}"

        survivors = []
        print(f"{'fault':43}rejected by", flush=True)
        for name in names:
            path, text, faulty = planted(copy, name)
            path.write_text(faulty)
            build(copy)
            reason = verdict(copy)
            path.write_text(text)
            print(f"{name:43}{reason or 'SURVIVED'}"[:160], flush=True)
            survivors += [] if reason else [name]
    print(f"{len(names)} faults, {len(survivors)} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
