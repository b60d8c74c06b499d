"""The sweeps that come with the project, one YAML file each; `search/space/preset.py` reads them."""
