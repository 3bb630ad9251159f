"""Images a second: workers and threads of one machine, and what follows from it for many."""
