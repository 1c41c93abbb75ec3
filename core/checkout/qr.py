from core.web.qr import qr

__all__ = ["qr"]
