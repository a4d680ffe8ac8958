"""What a newcomer looks at: a demonstration EHR, two pictures, the whole line on one machine. Not for production."""
