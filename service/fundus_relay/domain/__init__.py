"""Values and rules of the field; the standard library only."""
