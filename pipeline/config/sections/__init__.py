"""The sections of a config, each key with its default and meaning.

data.py: data, folds; model.py: model, loss; train.py: augment, mix, train, distill, pseudo; submit.py: predict,
ensemble, decision, submission, medals; tune.py: tune. The keys above all sections stand in config/config.py.
"""
