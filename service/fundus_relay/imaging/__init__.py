"""Pixels: what a file is, what may be sent, and the way back to its source frame. Bytes in, values out."""
