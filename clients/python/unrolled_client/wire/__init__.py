"""The wire contract seen from a caller: requests out, values and errors in.

Pure: nothing here opens a connection, waits, or differs between the synchronous and the asynchronous client.
"""
