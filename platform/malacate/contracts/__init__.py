"""What is promised of each table, and what is done when a promise is broken."""
