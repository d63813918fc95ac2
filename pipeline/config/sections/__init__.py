"""The sections of a config, each key with its default and meaning.

data.py: data, with its entries in data_items.py; folds.py: folds; model.py: model, loss; train.py: augment, mix, train,
distill, pseudo; submit.py: predict, ensemble, decision, submission, medals; tune.py: tune. The keys above all sections
stand in config/config.py.
"""
