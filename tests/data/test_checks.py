"""The checks of arguments, and the one form of their sentences."""

import numpy as np
import pytest
import torch

from aelab.data import checks

# Property


def test_what_is_good_passes_in_silence():
    # Rejects: a check that is too strict (NumPy's integers, half precision, n = 1).
    checks.require(True, "f", "x", 0)
    checks.require_known("f", "name", "b", ("a", "b"))
    checks.require_count("f", "n", 1)
    checks.require_count("f", "n", np.int64(7))
    for dtype in (torch.float16, torch.float32, torch.float64):
        checks.require_floats("f", torch.zeros(2, dtype=dtype))


# Error


@pytest.mark.parametrize(
    ("check", "arguments", "error", "sentence"),
    [
        ("require", (False, "f", "x > 0", -1), ValueError, "x > 0, but got -1"),
        (
            "require_known",
            ("f", "name", "c", ("a", "b")),
            ValueError,
            "name to be one of a, b, but got 'c'",
        ),
        ("require_count", ("f", "n", 0), ValueError, "n >= 1, but got 0"),
        (
            "require_count",
            ("f", "n", 1.0),
            TypeError,
            "an integer n, but got float",
        ),
        (
            "require_floats",
            ("f", [0.5]),
            TypeError,
            "a floating-point tensor x, but got list",
        ),
        (
            "require_floats",
            ("f", torch.zeros(1, dtype=torch.int64)),
            TypeError,
            "a floating-point tensor x, but got torch.int64",
        ),
    ],
)
def test_one_form_of_sentence(check, arguments, error, sentence):
    with pytest.raises(error) as caught:
        getattr(checks, check)(*arguments)
    assert str(caught.value) == f"f: expected {sentence}"
