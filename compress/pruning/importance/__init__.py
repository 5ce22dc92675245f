"""How much a channel matters: one file a method, all with the signature of `Importance`."""
