"""Names of runs that a person can read."""

import pytest

from search.space.label import label


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            {"patch": "128x1", "encoding": "ice", "teacher.depth": 6, "teacher.heads": 5, "student.depth": 3,
             "student.heads": 5, "alpha": 10.0},
            "128x1 ice t6h5 s3h5 α=10",
        ),
        ({"alpha": 0.12345, "patch": "16x16"}, "16x16 α=0.123"),
        ({"teacher.depth": 12}, "t12"),
        ({"teacher.heads": 5}, "th5"),
        ({"student.heads": 5}, "sh5"),
        ({"student.lr": 0.001, "dim": 64}, "student.lr=0.001 dim=64"),
        ({}, "defaults"),
    ],
)  # fmt: skip
def test_a_configuration_in_few_words(params, expected):
    assert label(params) == expected
