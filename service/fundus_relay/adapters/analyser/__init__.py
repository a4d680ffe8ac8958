"""The analyser over HTTP, and the token that all processes share."""
