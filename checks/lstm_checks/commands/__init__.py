"""The commands of `lstm-checks`, one file each: what it takes, and what carries it out."""
