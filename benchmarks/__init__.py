"""The bench: what README claims, measured again by one command (`make bench`). See README.md beside this file."""
