"""How many threads the BLAS of a process takes; without NumPy, which reads it as it is loaded, and never again."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""The environment of a process that computes with one thread."""
