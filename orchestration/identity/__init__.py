"""Which records are one person: evidence, shared values, clusters, persistent ids, measured quality.

``evidence`` collects what records hold, ``sharing`` finds values that many people share, ``resolve`` makes persons,
``changes`` compares two nights, ``quality`` measures against labels, ``run`` reads and writes the clean layer. Does
not belong here: how a value is normalised (``normalize``).
"""
