"""Random input for what reads text from outside: definitions and expressions. `make fuzz CASES=200000` tries more."""
