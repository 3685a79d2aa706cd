"""A layer that nobody wrote for us: how it is made, called and pulled back, and where its weights are, by trying.

Readings of it are run on a drawn problem, as text that is evaluated; the one under which the forward pass is the
reference's is printed as a function in the vjp form. Names only order what is tried.
"""
