"""What a person is told of a sweep: its outcome read from the spool, the report's page and the description."""
