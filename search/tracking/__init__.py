"""What MLflow is told of a sweep: runs and their keys, the spool they are told from, who sends it, the saved view."""
