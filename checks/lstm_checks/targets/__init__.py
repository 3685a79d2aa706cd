"""The doors to other frameworks: one file each, imported only when its framework is the target."""
