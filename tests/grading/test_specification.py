"""aelab.grading.specification: exams made from what a lecturer writes."""

import pytest
import torch
from cubes import CELLS, save

from aelab.grading.judge import judge
from aelab.grading.probe import run
from aelab.grading.specification import load


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    return load(save(tmp_path_factory.mktemp("exercises")))


def marks(exercises, function, question="q1", seed=0):
    asked = exercises.exam(question, seed)
    return judge(asked, run(function, asked)).earned


# Shape and dtype


def test_an_exam_has_the_shapes_and_dtypes_of_its_cases(cubes):
    values, slopes, double = (c.trials for c in cubes.exam("q1", 0).criteria)
    assert [t.arguments["x"].shape for t in values] == [(4,), (0,)]
    assert values[0].expected["cubes"].dtype == torch.float64
    assert (values[0].dtype, double[0].dtype) == ("float32", "float64")
    assert slopes[0].cotangents["cubes"].dtype == torch.float32


# Value against an outside oracle


def test_expected_slopes_are_the_derivative(cubes):
    """Rejects: differences of one side, or a step that is lost in the rounding."""
    (trial,) = cubes.exam("q1", 0).criteria[1].trials
    x, weights = trial.arguments["x"].double(), trial.cotangents["cubes"].double()
    by_hand = 3 * 3 * x**2 * weights
    found = trial.expected["the gradient by x"]
    torch.testing.assert_close(found, by_hand, rtol=1e-7, atol=1e-7)


def test_expected_values_are_the_references(cubes):
    (trial, _) = cubes.exam("q1", 5).criteria[0].trials
    expected = 3 * trial.arguments["x"].double() ** 3
    torch.testing.assert_close(trial.expected["cubes"], expected)


# Property


def test_marks_are_the_declared_ones(cubes):
    q = cubes.questions["q1"]
    assert marks(cubes, cubes.solution("q1")) == 4
    assert [marks(cubes, cubes.wrong("q1", m)) for m in q.mistakes] == [0, 3, 0]
    assert marks(cubes, q.right[0]) == 4
    assert marks(cubes, cubes.solution("q2"), "q2") == 4
    assert marks(cubes, lambda seed: torch.zeros(3), "q2") == 0


def test_a_seed_gives_the_same_exam_and_another_seed_another(cubes):
    """Rejects: inputs that can be learnt by heart."""
    inputs = {}
    for seed in (0, 1, "secret a", "secret b"):
        inputs[seed] = cubes.exam("q1", seed).criteria[0].trials[0].arguments["x"]
        again = cubes.exam("q1", seed).criteria[0].trials[0].arguments["x"]
        assert torch.equal(inputs[seed], again)
    assert len({tuple(x.tolist()) for x in inputs.values()}) == 4


def test_a_public_exam_lacks_what_is_kept_for_marking(cubes):
    public = cubes.exam("q1", 0, public=True)
    assert [len(c.trials) for c in public.criteria] == [2, 1, 0]
    assert public.points == 4


def test_known_mistakes_are_told_apart_from_right_answers(cubes):
    known = [t.known for c in cubes.exam("q1", 0).criteria for t in c.trials]
    assert set(known[0]) == {"squares", "own"}
    assert known[1] == {}  # of no numbers nothing can be told


def test_a_solution_has_what_it_needs_and_nothing_else(cubes):
    assert cubes.sources["q1"][0].strip() == "import torch"
    assert "only shown" not in "".join(cubes.sources["q2"])


# Error


def test_an_edit_that_does_not_fit_is_named(cubes):
    with pytest.raises(ValueError, match=r"q1: expected 'x..4' once .* there 0 times"):
        cubes.solution("q1", {"x**4": "x"})
    with pytest.raises(ValueError, match="there 3 times"):
        cubes.solution("q1", {"x": "y"})


def test_a_question_without_a_solution_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"09_cubes\.ipynb: expected .* of q2, but"):
        load(save(tmp_path, CELLS[:3]))
