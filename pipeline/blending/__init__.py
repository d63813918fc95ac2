"""Members in; one prediction out, each choice judged on folds that it did not see. Read `stage.py` first."""
