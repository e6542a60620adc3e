"""What the compiler knows of each operation of the file format, a file per family."""
