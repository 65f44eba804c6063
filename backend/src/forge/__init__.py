"""A gateway in front of LLM providers. This file owns the version and nothing else."""

__version__ = "0.1.0"
