"""Sockets: the only package that has them. It drives sessions and knows no archive."""
