"""A gradient as autograd asks for it: again, in part, of arrays laid out otherwise, and the same each time."""
