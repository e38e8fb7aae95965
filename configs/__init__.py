"""Training recipes, one YAML file each; see README.md."""
