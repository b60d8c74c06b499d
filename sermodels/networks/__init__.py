"""The networks: the paper's teacher and student, those that it compares with, and what they cost."""
