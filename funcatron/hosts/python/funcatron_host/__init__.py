"""The Func host for Python: the process that has one bundle loaded and runs its functions.

It runs in the bundle's own interpreter and environment, with nothing but the standard library, on Python 3.8 and newer.
Imports inside are relative, because the same files are `funcatron_host` in a host and part of `funcatron` elsewhere.
`api` is what users import as `funcatron`.
"""
