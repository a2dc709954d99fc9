"""The calling style of the pypx before this one: the same dictionaries and flags, told truthfully.

In: dictionaries with the keys of pypx 1.x and 3.x. Out: dictionaries of the same shape. What the
flags are stands in ``flags``; who parses and prints them is the command line. Nothing below
knows that this package exists. See ``docs/moving-from-pypx.md``.
"""
