"""What a person, or `ray job submit`, runs: one script a job, and `ser`, which runs each of them by its name.

May import `search` and `sermodels`; these import nothing of this package. Scripts and benchmarks share what lies in
`jobs.shared`.
"""
