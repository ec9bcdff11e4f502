"""The Func host for Python: its driver, and in `funcatron_host` what runs in the bundle's interpreter."""
