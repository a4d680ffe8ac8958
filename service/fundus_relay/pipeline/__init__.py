"""The journey of an image and of its report, over ports; no socket, file or database is opened here."""
