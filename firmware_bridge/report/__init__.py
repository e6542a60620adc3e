"""What a check found, as a file: JSON for programs, JUnit for CI, a page for people."""
