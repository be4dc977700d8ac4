"""aelab.grading.exam: questions as data."""

import json
import math
from dataclasses import replace

import pytest
import torch
from asked import ROWS, exam

from aelab import data
from aelab.grading.exam import Digits, Exam, Seed, Strided, Trial, read, realise, write

# Shape and dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
def test_tensors_come_back_with_shape_and_dtype(tmp_path, dtype, shape):
    x = torch.full(shape, 3, dtype=dtype)
    asked = exam(Trial("any", {"x": x, "k": 2}, {"total": x.double()}))
    write({"q1": asked}, tmp_path / "exams.json")
    back = read(tmp_path / "exams.json")["q1"].criteria[0].trials[0]
    assert back.arguments["x"].dtype == dtype
    assert back.arguments["x"].shape == shape
    assert back.arguments["k"] == 2


# Value against an outside oracle


def test_every_bit_comes_back(tmp_path):
    """Rejects: numbers rounded on the way, and NaN or infinities that get lost."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, generator=generator)
    y = torch.randn(200, generator=generator, dtype=torch.float64) * 1e-30
    y[:3] = torch.tensor([math.nan, math.inf, -math.inf])
    write({"q1": exam(Trial("any", {"x": x}, {"total": y}))}, tmp_path / "exams.json")
    back = read(tmp_path / "exams.json")["q1"].criteria[0].trials[0]
    assert torch.equal(back.arguments["x"], x)
    torch.testing.assert_close(
        back.expected["total"], y, rtol=0, atol=0, equal_nan=True
    )


def test_digits_are_those_of_the_course():
    train, test = data.images("digits")
    torch.testing.assert_close(realise(Digits("train", 3, 9)), train.x[3:9])
    torch.testing.assert_close(realise(Digits("test", 0, 2, "y")), test.y[:2])
    turned = realise(Digits("train", 3, 9, flip=2)).reshape(6, 8, 8)
    torch.testing.assert_close(turned[:, :, 0], train.x[3:9].reshape(6, 8, 8)[:, :, 7])
    below = realise(Digits("train", 3, 9, flip=1)).reshape(6, 8, 8)
    torch.testing.assert_close(below[:, 0], train.x[3:9].reshape(6, 8, 8)[:, 7])


# Property


def test_an_exam_survives_writing_and_reading(tmp_path):
    special = {"g": Seed(3), "x": Digits("test", 0, 4), "s": Strided(torch.ones(2))}
    first = exam(ROWS, Trial("special", special, {"total": torch.ones(2).double()}))
    first = replace(first, says={"sum": "That is a sum."}, forbidden=["aelab.ops.f"])
    write({"q1": first}, tmp_path / "one.json")
    write(read(tmp_path / "one.json"), tmp_path / "two.json")
    one, two = ((tmp_path / f"{n}.json").read_text() for n in ("one", "two"))
    assert one == two
    assert json.loads(one)["q1"]["says"] == {"sum": "That is a sum."}
    back = Exam.of(json.loads(one)["q1"])
    assert back.points == 2
    assert back.criteria[0].trials[1].arguments["g"] == Seed(3)


def test_an_argument_arrives_fresh_each_time():
    x = torch.ones(3)
    realise(x).zero_()
    assert x.sum() == 3
    seed = Seed(7)
    draws = [torch.rand(2, generator=realise(seed)) for _ in range(2)]
    assert torch.equal(*draws)
    gaps = realise(Strided(torch.arange(6.0).reshape(2, 3)))
    assert not gaps.is_contiguous()
    assert torch.equal(gaps, torch.arange(6.0).reshape(2, 3))
    assert realise([x, 2])[0] is not x


def test_writing_is_whole_or_not_at_all(tmp_path):
    write({"q1": exam(ROWS)}, tmp_path / "exams.json")
    before = (tmp_path / "exams.json").read_bytes()
    broken = exam(Trial("any", {"x": object()}, {}))
    with pytest.raises(TypeError):
        write({"q1": broken}, tmp_path / "exams.json")
    assert (tmp_path / "exams.json").read_bytes() == before


# Error


@pytest.mark.parametrize("text", ["", "[1]", '{"q1": 3}', '{"q1": {"title": 1}}'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "exams.json").write_text(text)
    with pytest.raises(ValueError, match=r"exams\.json: expected the exams .* fresh"):
        read(tmp_path / "exams.json")
