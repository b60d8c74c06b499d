"""The sweeps that come with the project, one YAML file each; `search/preset.py` reads them."""
