"""One guest of the house: rights at the door, then its conversation bound to what is shared."""
