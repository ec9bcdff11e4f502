"""The stack on one machine: own broker, nginx, Tron and Runners under one supervisor, all in one data folder.

`Stack(settings)` is the facade: `up()`, `down()`, `status()`. Everything that is written lies below the data folder;
nothing that the machine runs for another purpose is touched.
"""

from funcatron.stack.folders import StackError
from funcatron.stack.stack import Stack

__all__ = ["Stack", "StackError"]
