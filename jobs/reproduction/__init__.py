"""What jobs/paper.py builds: the systems of the paper's tables, their results, the tables."""
