import sys

VERSION = "0.1.0"

# httpx would load its command line tool with rich and pygments: 4 MB in each process and a twentieth of its start.
sys.modules["httpx._main"] = None  # type: ignore[assignment]
