"""What a plugin's tests may use of the shop: servers that play the other side."""

from core.api.testing.loopback import Away, Called, Fault, Loopback, Seen, in_process, serve

__all__ = ["Away", "Called", "Fault", "Loopback", "Seen", "in_process", "serve"]
