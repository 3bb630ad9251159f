"""Where a report goes: the terminal, a page, a CSV file, and the comparison of two reports."""
