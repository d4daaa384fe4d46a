"""What can be wrong with a definition that is well formed, one module per kind of question.

`codes.py` lists every finding there is. `outline.py` says which steps there are and where they lead, `graph.py` how
control flows through them; the other modules each answer one question on top of these. `../verify.py` asks them all.
Nothing here changes a definition, and nothing here runs one.
"""
