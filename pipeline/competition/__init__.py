"""The competition's files in; rows, the paths of their images and soft targets out, or every defect at once.

Read `competition.py` first, then `rows/rows.py`: what a row, its place and its problems are.
"""
