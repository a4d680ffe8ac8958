"""Durable work: the engine, its lanes and rounds. The only package that imports the engine."""
