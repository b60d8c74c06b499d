"""What a trial is: its settings, their ranges, and how they are read from YAML."""
