"""Networks of others that the paper compares its own with, trained as plain classifiers in the teacher stage."""
