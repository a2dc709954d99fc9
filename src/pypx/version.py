"""The version, in a module of its own so that the build and ``px --version`` read it cheaply."""

__version__ = "4.0.0.dev1"
