"""What a newcomer looks at: a demonstration EHR, two pictures, and the whole line on one machine. Not for production."""
