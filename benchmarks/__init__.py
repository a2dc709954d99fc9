"""How fast pypx is beside DCMTK, Orthanc and pynetdicom; ``make bench`` runs it.

Every pair is measured in one run, in alternating rounds; ratios matter, not absolutes.
"""
