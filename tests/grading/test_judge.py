"""aelab.grading.judge: results compared with what was expected."""

import math
from dataclasses import replace

import pytest
import torch
from asked import ROWS, both, exam, trial

from aelab.grading.exam import Trial
from aelab.grading.judge import RARE, Row, Verdict, agrees, judge
from aelab.grading.probe import Answer, run


def verdict(asked, *results, problem=""):
    """Return the verdict on results, one dict or tuple a trial."""
    names = asked.results
    answers = [
        Answer({} if problem else dict(zip(names, r, strict=True)), problem)
        for r in results
    ]
    return judge(asked, answers)


def message(asked, *results, problem=""):
    (row,) = verdict(asked, *results, problem=problem).rows
    return row.message


SUM, PRODUCT = both(ROWS.arguments["x"], ROWS.arguments["y"])

# Shape and dtype


def test_shapes_are_told_apart():
    told = message(exam(ROWS), (SUM[:1], PRODUCT))
    assert told == "total should have the shape (2,), but has (1,)."
    assert message(exam(ROWS), (SUM[None], PRODUCT)).endswith("but has (1, 2).")


def test_dtypes_are_told_apart():
    told = message(exam(ROWS), (SUM.double(), PRODUCT))
    assert told == "total should be float32, as the input is, but is torch.float64."
    asked = exam(trial([1.0, 2.0], [3.0, 5.0], dtype="float64"))
    assert verdict(asked, (SUM.double(), PRODUCT.double()))
    assert not verdict(asked, (SUM, PRODUCT))


def test_whole_numbers_are_exact():
    expected = {"total": torch.tensor([2**40]), "product": torch.tensor(1.0).double()}
    asked = exam(Trial("any", {"x": torch.ones(2)}, expected))
    one = torch.tensor(1.0)
    assert verdict(asked, (torch.tensor([2**40]), one))
    assert "total should be int64" in message(asked, (torch.tensor([2.0**40]), one))


def test_a_python_number_will_do_for_a_number():
    expected = {"total": torch.tensor(4.0).double(), "product": ROWS.expected["total"]}
    asked = replace(exam(Trial("any", {"x": SUM}, expected)), signature=["x"])
    assert judge(asked, run(lambda x: (4.0, x), asked))
    assert not judge(asked, run(lambda x: (x[0].double(), x), asked))
    whole = replace(asked.criteria[0].trials[0], expected={"n": torch.tensor(2)})
    asked = replace(exam(whole), signature=["x"], results=["n"])
    assert judge(asked, run(len, asked))


# Value against an outside oracle


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [("float32", 3e-5, 1e-3), ("float64", 1e-9, 1e-7), ("bfloat16", 1e-2, 0.2)],
)
def test_tolerances_suit_the_dtype(dtype, good, bad):
    asked = exam(trial([1.0, 2.0], [3.0, 5.0], dtype=dtype))
    kind = getattr(torch, dtype)
    expected = [e.to(torch.float64) for e in ROWS.expected.values()]
    for share, right in ((good, True), (bad, False)):
        near = tuple((e * (1 + share)).to(kind) for e in expected)
        assert bool(verdict(asked, near)) == right, share


def test_infinities_and_nan_must_stand_in_their_places():
    special = torch.tensor([math.inf, -math.inf, math.nan, 1.0])
    expected = {"total": special.double(), "product": special.double()}
    asked = exam(Trial("any", {"x": torch.ones(4)}, expected))
    assert verdict(asked, (special, special))
    for place in range(4):
        other = special.clone()
        other[place] = 0.0
        assert "1 of 4 numbers of product differ" in message(asked, (special, other))
    other = torch.tensor([math.nan, -math.inf, math.nan, math.inf])
    told = message(asked, (special, other))
    assert "2 of 4 numbers of product differ (1 NaN, 1 infinite)" in told


def test_the_first_difference_is_shown():
    told = message(exam(ROWS), (SUM, PRODUCT * torch.tensor([1.0, 1.5])))
    assert told == ("1 of 2 numbers of product differ: product[1] is 15, should be 10.")


def test_a_small_number_beside_a_large_one_may_be_off():
    expected = {"total": torch.tensor([1e6, 0.0]).double()}
    off = {"total": torch.tensor([1e6, 1.0])}
    assert agrees(off, expected, 1e-5)
    assert not agrees(off, {"total": torch.tensor([1e3, 0.0]).double()}, 1e-5)
    assert not agrees({"product": off["total"]}, expected, 1e-5)


# Property


def draws(z, mean=0.0, std=1.0):
    expected = {"mean": torch.full(z.shape, mean), "std": torch.full(z.shape, std)}
    asked = exam(Trial("any", {}, {k: v.double() for k, v in expected.items()}),
                 kind="draws")  # fmt: skip
    (row,) = judge(asked, [Answer({"z": z})]).rows
    return row.message


NOISE = torch.randn(200, 20, generator=torch.Generator().manual_seed(0))


def test_right_draws_pass():
    """Over many seeds; a level of 1e-7 fails none of them."""
    for seed in range(40):
        z = torch.randn(200, 20, generator=torch.Generator().manual_seed(seed))
        assert draws(3 + 2 * z, 3.0, 2.0) == ""
    assert RARE <= 1e-6


@pytest.mark.parametrize(
    ("z", "told"),
    [
        (0 * NOISE, "should be standard normal"),
        (1.3 * NOISE, "standard deviation 1.29"),
        (NOISE + 0.2, "should be standard normal"),
        (math.sqrt(12) * (torch.special.ndtr(NOISE) - 0.5), "from -1.73 to 1.73"),
        (NOISE[:1].expand(200, 20), "rows of z are not independent"),
        (NOISE[:, :1].expand(200, 20), "columns of z are not independent"),
        (NOISE.repeat(1, 2)[:, :20].sign() * NOISE.abs() / 0, "are not finite"),
        (NOISE[:5], "should have the shape"),
    ],
    ids=["none", "wide", "shifted", "uniform", "rows", "columns", "infinite", "few"],
)
def test_wrong_draws_are_named(z, told):
    expected = {"mean": torch.zeros(200, 20), "std": torch.ones(200, 20)}
    asked = exam(Trial("any", {}, {k: v.double() for k, v in expected.items()}),
                 kind="draws")  # fmt: skip
    (row,) = judge(asked, [Answer({"z": z})]).rows
    assert told in row.message


def test_all_trials_of_a_criterion_must_be_right():
    asked = exam(ROWS, trial([1.0], [2.0], case="one row"))
    right = [(SUM, PRODUCT), (torch.tensor([3.0]), torch.tensor([2.0]))]
    assert verdict(asked, *right).earned == 2
    wrong = verdict(asked, right[0], (torch.tensor([3.0]), torch.tensor([3.0])))
    assert wrong.earned == 0
    assert wrong.rows[0].message.startswith("one row: 1 of 1 numbers of product")
    both_wrong = verdict(asked, (PRODUCT, SUM), right[1][::-1])
    assert both_wrong.rows[0].message.endswith("(2 of 2 cases fail).")


def test_a_known_mistake_is_recognised():
    """Rejects: a sentence said to anyone who is wrong."""
    like = {"total": PRODUCT.double(), "product": SUM.double()}
    asked = exam(trial([1.0, 2.0], [3.0, 5.0], known={"swapped": like}))
    asked.says["swapped"] = "The two have changed places."
    (row,) = verdict(asked, (PRODUCT, SUM)).rows
    assert row.known == "The two have changed places."
    (row,) = verdict(asked, (PRODUCT, SUM + 1)).rows
    assert row.known == ""
    assert message(asked, (), problem="raises E") == "your function raises E."


def test_the_mistake_that_fits_most_is_named():
    """Rejects: the first one that fits anywhere, which may be a coincidence."""
    swapped = {"total": PRODUCT.double(), "product": SUM.double()}
    once = trial([1.0, 2.0], [3.0, 5.0], known={"chance": swapped, "swap": swapped})
    asked = exam(once, trial([1.0, 2.0], [3.0, 5.0], known={"swap": swapped}))
    asked.says.update(chance="By chance.", swap="The two have changed places.")
    (row,) = verdict(asked, (PRODUCT, SUM), (PRODUCT, SUM)).rows
    assert row.known == "The two have changed places."


def test_a_mistake_that_is_refuted_elsewhere_is_not_named():
    """Rejects: a sentence that fits one case, and is belied by another."""
    swapped = {"total": PRODUCT.double(), "product": SUM.double()}
    twice = [
        trial([1.0, 2.0], [3.0, 5.0], case=case, known={"swap": swapped})
        for case in ("one", "two")
    ]
    asked = exam(*twice)
    asked.says["swap"] = "The two have changed places."
    (row,) = verdict(asked, (PRODUCT, SUM), (PRODUCT, SUM + 1)).rows
    assert row.known == ""
    assert "2 of 2 cases fail" in row.message


def test_a_sentence_is_printed_once_and_in_the_place_of_a_hint():
    """Rejects: the sentence under each line, and a hint that leads elsewhere."""
    row = Row("a", 1.0, 0.0, False, "wrong.", "Swapped.", "look at the signs")
    other = replace(row, known="")
    text = Verdict("q1", "any", [row, row, other]).table()
    assert text.count("Swapped.") == 1
    assert text.count("wrong.") == 3
    assert text.count("Hint: look at the signs") == 1


def test_two_numbers_that_look_alike_are_told_apart():
    asked = exam(trial([1.0, 2.0], [3.0, 5.0], dtype="float64"))
    told = message(asked, (SUM.double() + 1e-6, PRODUCT.double()))
    got, wanted = told.removesuffix(".").split(" is ")[1].split(", should be ")
    assert float(got) != float(wanted)


def test_a_score_is_told_to_those_who_pass_too():
    truth = {"mean squared error": torch.tensor([1.0, 2.0]).double()}
    asked = exam(Trial("any", {}, truth), kind="score", bound=0.5)
    for got, passed, told in ((1.5, True, "0.125"), (4.0, False, "2")):
        (row,) = judge(asked, [Answer({"x": torch.tensor([1.0, got])})]).rows
        assert row.passed is passed
        assert f"is {told}; the target is 0.5 or less" in row.message


def test_a_guess_of_too_few_symbols_is_named():
    asked = exam(Trial("any", {}, {"surprise in bits": torch.tensor([3])}),
                 kind="score", bound=9.0)  # fmt: skip
    (row,) = judge(asked, [Answer({"guess": torch.tensor([[0.5, 0.5]])})]).rows
    assert "has 2 columns; there are more symbols" in row.message


SCORES = {
    "mean squared error": (torch.zeros(4), torch.full((4,), 0.5), 0.25),
    "share of wrong labels": (torch.arange(4), torch.tensor([0, 1, 2, 0]), 0.25),
    "surprise in bits": (torch.tensor([0, 1]), torch.full((2, 4), 0.25), 2.0),
    "change of what was known": (
        torch.tensor([1.0, math.nan, 2.0]),
        torch.tensor([1.0, 9.0, 1.5]),
        0.5,
    ),
}


@pytest.mark.parametrize("measure", SCORES)
def test_scores_are_what_they_say(measure):
    truth, got, score = SCORES[measure]
    for bound, passed in ((score + 1e-6, True), (score - 1e-6, False)):
        asked = exam(Trial("any", {}, {measure: truth}), kind="score", bound=bound)
        (row,) = judge(asked, [Answer({"guess": got})]).rows
        assert row.passed == passed
        if not passed:
            assert f"the {measure} is {score:g}; the target is" in row.message


def test_a_score_needs_proper_results():
    asked = exam(Trial("any", {}, {"surprise in bits": torch.tensor([0])}),
                 kind="score", bound=9.0)  # fmt: skip
    for guess, told in (
        (torch.tensor([[0.5, 0.6]]), "rows that sum to 1"),
        (torch.tensor([[1.5, -0.5]]), "some are below 0"),
        (torch.tensor([[0.0, 1.0]]), "what did come had the probability 0"),
        (torch.tensor([0.5, 0.5]), "should have the shape (1, 2)"),
        (torch.tensor([[0.5, math.nan]]), "1 numbers of guess are not finite"),
        (torch.ones(1, 0), "rows that sum to 1"),
    ):
        (row,) = judge(asked, [Answer({"guess": guess})]).rows
        assert told in row.message


def test_the_table_tells_everything():
    told = verdict(exam(ROWS), (PRODUCT, SUM)).table()
    assert told.splitlines() == [
        "q1: 0 of 2 points. Sum and product",
        "  FAILED  sums: 0 of 2",
        "          2 of 2 numbers of total differ: total[0] is 3, should be 4.",
        "          Hint: look at plus",
    ]
    assert verdict(exam(ROWS), (SUM, PRODUCT)).table().count("passed  sums: 2 of 2")


def test_long_messages_are_broken_and_set_in():
    told = verdict(exam(ROWS), (), problem="raises " + "Error " * 40).table()
    assert max(map(len, told.splitlines())) <= 88
    assert all(line[:10].isspace() for line in told.splitlines()[2:])


def test_what_is_kept_for_marking_is_neither_right_nor_wrong():
    kept = verdict(exam())
    assert kept
    assert (kept.earned, kept.points) == (0, 0)
    assert "later   sums: 2, with cases that are kept for marking" in kept.table()


def test_expected_and_got_are_shown_where_a_picture_helps():
    x = torch.arange(12.0).reshape(3, 4)
    expected = {"total": x.double(), "product": x.double()}
    asked = exam(Trial("any", {"x": x}, expected))
    (row,) = verdict(asked, (x.flip(0), x)).rows
    assert torch.equal(row.shown["expected"], x.double())
    assert torch.equal(row.shown["got"], x.flip(0).double())
    (row,) = verdict(asked, (x * math.nan, x * math.nan)).rows
    assert row.shown == {}


# Error


def test_there_must_be_an_answer_for_each_trial():
    with pytest.raises(ValueError, match=r"judge: expected 1 answers, .* got 0"):
        judge(exam(ROWS), [])


def test_a_function_is_judged_from_end_to_end():
    asked = exam(ROWS)
    assert judge(asked, run(both, asked)).earned == 2
    assert judge(asked, run(lambda x, y: (x, y), asked)).earned == 0
