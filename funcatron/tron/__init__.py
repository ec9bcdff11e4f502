"""The Tron: dispatches the firehose to the func queues, and is the control plane of an installation."""
