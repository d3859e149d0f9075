"""Images and labels as a pipeline has them after its first, fixed steps, kept on the disk.

`steps` says which steps these are and what a cache is named after, `format` how one image lies in a
file, `build` writes a cache, `use` makes a data set read one, `check` looks through one.
(Nothing is imported here: worker processes need some of it alone.)
"""
