"""The commands: their words and options, and nothing heavy to import, so that help and completion are quick."""
