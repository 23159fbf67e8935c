"""Stages that systems compose: each reads a part of the config, works in its own directory."""
