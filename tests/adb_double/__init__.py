"""A double of a phone: adbd's wire protocol over TCP, for adb's own server and client, and no phone behind it.

Its shell runs commands with this machine's `sh`, and its sync service reads and writes real files; `/data/local/tmp`,
`/sys` and `/proc` are folders of a temporary place. What it says of itself is in files there, and says that it is a
double. Faults are told to it: unauthorised, offline, unplugged in a command, a full disk, slow.
"""
