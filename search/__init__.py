"""Which trials to run, where they run, and what became of them.

May import `sermodels`, Ray, Optuna and MLflow; `sermodels` imports nothing of this package.
"""
