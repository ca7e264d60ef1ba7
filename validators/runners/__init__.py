"""What runs artifacts: `runner.py` and one session file a runtime.

These files run as scripts, here in fresh processes and on real devices, with nothing of edgekit beside them: copy
`runner.py` and the one session file of the runtime. Hence Python 3.9 syntax, NumPy as the only other import, and
sessions that are loaded by path.
"""
