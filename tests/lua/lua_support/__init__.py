"""What the Frontend's tests start: nginx, a broker, a scripted STOMP server, a consumer."""
