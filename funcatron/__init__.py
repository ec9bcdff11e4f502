"""Funcatron: serverless on your own cluster.

Engineers write functions and a Swagger file that names them; Funcatron binds them to HTTP, runs and scales them.
"""

__version__ = "0.1.0"
