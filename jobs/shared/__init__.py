"""What several jobs need: the command line, devices, stores, progress, tables."""
