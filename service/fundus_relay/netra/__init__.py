"""The contract of the analyser's API: what is asked, what is answered, and what may be concluded. No I/O.

Source: Netra API Developer Documentation, Netra API 1.0, by Leben Care ("the document" in this package).
"""
