"""Messages that arrive by themselves: collected into files, which drops are read from."""
