"""How each language writes dates; what is not said here is as Django has it."""
