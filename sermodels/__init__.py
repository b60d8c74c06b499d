"""What a trial computes: corpora, log-mel images, networks and the three training stages.

Nothing in this package imports ray, mlflow or optuna, or anything of `search`.
"""
