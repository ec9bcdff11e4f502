"""`python -m funcatron.cli` is `funcatron`."""

from funcatron.cli import main

main()
