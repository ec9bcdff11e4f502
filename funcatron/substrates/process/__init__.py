"""The `process` substrate: Runners and Trons as processes of this machine.

`from_settings` makes the driver. What one machine's stack needs of it without an event loop is in `folder`: what runs,
stop all of it, let it run again.
"""

from funcatron.substrates.process.driver import ProcessSubstrate, from_settings
from funcatron.substrates.process.launch import Launch

__all__ = ["Launch", "ProcessSubstrate", "from_settings"]
