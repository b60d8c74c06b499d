"""The best configuration leaves the sweep: exported, registered, served."""
