"""The KFP face of every stage: one folder a component, as Kubeflow's component repository lays them out.

The bodies only call :mod:`magicapture.stages` (or the registry, at both ends of a run). ``python -m components.readme``
writes the READMEs from signatures, docstrings and metadata.yaml.
"""
