"""The exam of the exams: what the judge gives to answers whose worth is known.

Each reference and every other right answer must get full marks, a stub none, and each
known mistake exactly the marks that its specification declares. The table is printed.
AELAB_SEEDS says over how many seeds: 3, if nothing is said. Targets, whose answers
train, take a fifth of them.
"""

import os
import re
from pathlib import Path

import pytest

from aelab.grading.exam import Exam
from aelab.grading.judge import judge
from aelab.grading.probe import answer, run
from aelab.grading.specification import load

ROOT = Path(__file__).resolve().parents[1]
SPECS = sorted(ROOT.glob("lectures/exercises/specs/*.py"))
SEEDS = int(os.environ.get("AELAB_SEEDS", "3"))
SETS = {path.stem: load(path) for path in SPECS}
QUESTIONS = [
    pytest.param(exercises, name, id=f"{stem}-{name}")
    for stem, exercises in SETS.items()
    for name in exercises.questions
]


def marks(exam: Exam, function):
    """Judge a function, tried in this process: none of these runs for ever."""
    trials = [trial for criterion in exam.criteria for trial in criterion.trials]
    return judge(exam, [answer(function, trial, exam) for trial in trials])


def stub(*_):
    raise NotImplementedError


@pytest.mark.parametrize(("exercises", "name"), QUESTIONS)
def test_everyone_gets_what_is_due(exercises, name, show):
    """Rejects: a judge that is too kind or too strict, and a wrong declaration."""
    question = exercises.questions[name]
    full = sum(m.points for m in question.marks)
    right = {f"right: {f.__name__}": (f, full) for f in question.right}
    answers = {"reference": (exercises.solution(name), full), "stub": (stub, 0)} | right
    for mistake in question.mistakes:
        answers[mistake.name] = exercises.wrong(name, mistake), mistake.marks
    table, wrong = [], []
    given = {who: [] for who in answers}
    slow = any(m.kind == "score" for m in question.marks)
    seeds = max(1, SEEDS // 5) if slow else SEEDS
    for seed in range(seeds):
        exam = exercises.exam(name, f"exam {seed}")
        for who, (function, due) in answers.items():
            verdict = marks(exam, function)
            given[who].append(verdict.earned)
            if verdict.earned != due:
                wrong.append(f"{who}, seed {seed}: {verdict.earned} for {due}")
            if seed == 0:
                told = next((r.message for r in verdict.rows if r.passed is False), "")
                table.append((who, due, told))
    lines = [
        f"{who[:40]:40} {due:4g}  {sorted(set(given[who]))!s:12} {told[:100]}"
        for who, due, told in table
    ]
    kind = f"{name}, {full:g} points, {len(question.mistakes)} known mistakes"
    show("\n".join([f"{exercises.stem} {kind}, seeds: {seeds}", *lines]))
    assert not wrong, wrong


@pytest.mark.parametrize(("exercises", "name"), QUESTIONS)
def test_a_question_knows_enough(exercises, name):
    question = exercises.questions[name]
    assert len(question.right) >= 3
    assert len(question.mistakes) >= 10
    names = [m.name for m in question.mistakes]
    assert len(set(names)) == len(names)
    said = [m.says for m in question.mistakes if m.says]
    if any(m.kind in ("values", "gradients") for m in question.marks):
        assert len(said) >= len(question.mistakes) / 3  # scores are all alike
    assert all(re.search(r"[.?!]\W?$", sentence) for sentence in said), said
    full = sum(m.points for m in question.marks)
    assert all(mistake.marks < full for mistake in question.mistakes)


def test_there_are_many_mistakes():
    questions = [q for s in SETS.values() for q in s.questions.values()]
    assert sum(len(q.mistakes) for q in questions) >= 200


@pytest.mark.parametrize(("exercises", "name"), QUESTIONS)
def test_a_student_reads_the_sentence(exercises, name):
    """Rejects: sentences that never appear."""
    question = exercises.questions[name]
    exam = exercises.exam(name, "sentences")
    said = {m.name: m.says for m in question.mistakes if m.says}
    silent = []
    for mistake in question.mistakes:
        if not mistake.says:
            continue
        verdict = marks(exam, exercises.wrong(name, mistake))
        messages = " ".join(f"{row.message} {row.known}" for row in verdict.rows)
        others = [s for n, s in said.items() if s in messages and s != mistake.says]
        same = mistake.says in messages
        numbers = any(c.kind in ("values", "gradients") for c in exam.criteria)
        if not same and numbers and "your function" not in messages:
            silent.append((mistake.name, others, messages[:200]))
    assert not silent, silent


@pytest.mark.parametrize(("exercises", "name"), QUESTIONS)
def test_a_process_of_its_own_gives_the_same_marks(exercises, name):
    """Rejects: marks that depend on where a function is tried."""
    question = exercises.questions[name]
    exam = exercises.exam(name, "processes", public=True)
    full = sum(c.points for c in exam.criteria if c.trials)
    solution = exercises.solution(name)
    assert judge(exam, run(solution, exam)).earned == full
    verdict = judge(exam, run(stub, exam))
    assert verdict.earned == 0
    told = [row.message for row in verdict.rows if row.passed is False]
    assert told
    assert all("NotImplementedError" in message for message in told)
    assert question.title == exam.title
