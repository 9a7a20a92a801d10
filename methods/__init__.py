"""A name on the command line -> a model with its score columns: model.py, build.py, and what can be named."""
