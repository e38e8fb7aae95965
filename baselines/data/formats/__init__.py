"""The file formats, each with its reader and its schema, and safe reading of pickle and npz files."""
