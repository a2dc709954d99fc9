"""Configuration: what the TOML file, the environment and the flags say together.

In: a path, the environment, and what was given on the command line. Out: checked
values, or an error that names file, line and key. What is not needed is not
imported: an ``px echo`` to an address, with no file to read, pays nothing for TOML.

A path is text here, since ``pathlib`` alone would cost more than everything else.
"""

from __future__ import annotations

from pypx.config.reading import config_path, load
from pypx.config.settings import Config, Listen, Node

__all__ = ["Config", "Listen", "Node", "config_path", "load"]
