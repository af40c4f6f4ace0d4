"""What is seen: tables, progress and JSON on a person's or a program's terminal."""
