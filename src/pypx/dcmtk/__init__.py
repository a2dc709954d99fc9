"""The engine that lets DCMTK's programs do the talking, behind the interface of the client.

In: what ``pypx.client.requestor`` describes. Out: the same results and errors. Each operation runs
echoscu, findscu, movescu, getscu or storescu; a listener runs storescp.
"""
