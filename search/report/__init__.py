"""What people read of a sweep: its outcome read from the spool, the report's page and the description."""
