"""The Runner: takes messages from func queues, drives the Func hosts, and sends the answers."""
