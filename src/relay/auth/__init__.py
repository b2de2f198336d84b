"""Who may do what: values and pure functions, the same for every surface of the relay."""
