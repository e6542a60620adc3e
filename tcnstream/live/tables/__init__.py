"""Configuration files read key by key: every error with its line, what was found and what is allowed."""
