"""Read a source system and write the landing.

``config`` is the source YAML, ``kinds`` the registry of readers by ``type``, one module a reader (``files``,
``sql``, ``declared``), ``landing`` the raw parts with their manifests, ``extract`` the one entry. Does not belong
here: what rows mean (``normalize``) and anything of Dagster.
"""
