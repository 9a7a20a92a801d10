"""What a score file is: its name, how it is read (read), written (write), joined with others (join),
and found (folder)."""
