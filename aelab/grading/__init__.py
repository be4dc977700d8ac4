"""Graded exercises: what is asked, how an answer is tried, and what it is worth.

In a notebook of exercises ``check("q1", my_function)`` says what is right, what is
wrong, and why. It needs no solution: the exams beside the notebook are data.

============= ================================================================
room          what it holds
============= ================================================================
exam          questions as data: arguments, expected results, known mistakes
specification what a lecturer writes, and the exams that are made from it
probe         a function tried in a process of its own, within limits
judge         results compared with what was expected: marks and messages
selfcheck     ``check``, for the notebook
============= ================================================================
"""

from aelab.grading.selfcheck import check

__all__ = ["check"]
