"""What is made of the hours of sensors beside the warehouse. No Dagster and no SQL here."""
