"""The checks of the models' arguments, and the one form of their sentences."""

import re

import pytest
import torch

from aelab.models import arguments

# Property


def test_what_is_good_comes_back():
    # Rejects: a check that is too strict (zero where it may be, a batch of none).
    assert arguments.sizes("A", "k", 3) == [3]
    assert arguments.sizes("A", "k", (3, 1)) == [3, 1]
    assert arguments.sizes("A", "k", ()) == []
    assert arguments.sizes("A", "k", 0, least=0) == [0]
    assert arguments.choice("A", "name", "b", {"a": 1, "b": 2}) == 2
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        arguments.rows("A.f", "x", torch.zeros(0, 4, dtype=dtype), 4)
        arguments.sequences("A.f", "x", torch.zeros(0, 1, 4, dtype=dtype), 4)
    arguments.sequences("A.f", "x", torch.tensor([[0, 3]]), 4)
    arguments.sequences("A.f", "x", torch.ones(0, 1).long(), 4)


# Error


@pytest.mark.parametrize(
    ("check", "given", "error", "sentence"),
    [
        ("sizes", ("A", "k", 2.0), TypeError, "A: expected integer k, but got 2.0"),
        ("sizes", ("A", "k", True), TypeError, "A: expected integer k, but got True"),
        ("sizes", ("A", "k", (2, 0)), ValueError, "A: expected k >= 1, but got 0"),
        (
            "choice",
            ("A", "f", "c", {"a": 1, "b": 2}),
            ValueError,
            "one of a, b, but got 'c'",
        ),
        ("rows", ("A.f", "x", [0.0], 1), TypeError, "A.f: expected x to be a floating"),
        ("rows", ("A.f", "x", torch.ones(1, 2).long(), 2), TypeError, "torch.int64; c"),
        (
            "rows",
            ("A.f", "x", torch.ones(2), 2),
            ValueError,
            "2), but got (2,)",
        ),
        (
            "rows",
            ("A.f", "x", torch.ones(2, 3), 4, "3 + 1"),
            ValueError,
            "x of shape (batch, 3 + 1), but got (2, 3); pass one example a row",
        ),
        ("sequences", ("A.f", "x", "text", 4), TypeError, "A.f: expected x to be an i"),
        ("sequences", ("A.f", "x", torch.ones(2).long(), 4), ValueError, "got (2,)"),
        (
            "sequences",
            ("A.f", "x", torch.ones(2, 0, 4), 4),
            ValueError,
            "x of shape (batch, time, 4) with time >= 1, but got (2, 0, 4)",
        ),
        (
            "sequences",
            ("A.f", "x", torch.tensor([[-1, 3]]), 4),
            ValueError,
            "A.f: expected symbols from 0 to 3 in x, but got -1 to 3",
        ),
    ],
)
def test_what_is_bad_is_named(check, given, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        getattr(arguments, check)(*given)
