"""What a client sends: from the bytes of a body to checked entries and their pictures."""
