"""The house model: a small text-to-image model of our own, its drawings, training and figures.

Nothing of the product imports this package; it makes what lies in `house/model` and
`house/adapters`.
"""
