"""AMQP 0-9-1 for the hot loops: a codec, an adapter under pika that moves bytes by asyncio, and frame forwarding."""
