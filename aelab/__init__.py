"""The package behind the course "learn autoencoders properly".

Read the rooms from left to right: ``data -> models (-> ops) -> losses -> training ->
metrics -> plots -> lectures``. They do not import each other; a lecture brings them
together.
"""
