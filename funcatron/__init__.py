"""Funcatron: serverless on your own cluster.

Engineers write functions and a Swagger file that names them; Funcatron binds them to HTTP, runs and scales them.
"""

__version__ = "0.1.0"

# What a Func may import. In a host these names come from the host itself; here they serve unit tests of Funcs.
_FOR_FUNCS = frozenset({"Cancelled", "Context", "Headers", "NoContent", "Problem", "Response", "context", "use"})


def __getattr__(name: str) -> object:
    """Import what Funcs use when it is asked for: the rest of the package does not need it."""
    if name not in _FOR_FUNCS:
        raise AttributeError(f"module 'funcatron' has no attribute {name!r}")
    import importlib
    import sys

    api = sys.modules.get("funcatron_host.api") or importlib.import_module("funcatron.hosts.python.funcatron_host.api")
    return getattr(api, name)
